-- migrate:up

-- The gateway's own ground: streams, what a finished generation tells about itself, and two roles.
-- Schema utter is made by dbmate, whose table of applied migrations lives in it, and outlasts the way down.

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';
-- All at once, in the order requests take them: a request in the middle of its work and a migration that holds what it
-- needs next would wait for each other.
lock table public.profiles, public.voices, public.generations, public.tasks in access exclusive mode;

alter table public.tasks drop constraint if exists tasks_type_check;
alter table public.tasks add constraint tasks_type_check
  check (type in ('generate', 'generate_stream', 'design_preview', 'clone'));

alter table public.generations
  add column audio_bytes bigint,
  add column audio_sha256 text,
  add column characters_billed integer,
  add column first_audio_seconds double precision,
  add column timings jsonb;
comment on column public.generations.audio_bytes is 'Length of the stored audio object, bytes.';
comment on column public.generations.audio_sha256 is 'SHA-256 of the stored audio object, lower-case hex.';
comment on column public.generations.characters_billed is 'Characters the vendor counted, in its own way of counting.';
comment on column public.generations.first_audio_seconds is 'From the request to the first audio byte, seconds.';
comment on column public.generations.timings is 'Steps of its trace: step, start_ms, duration_ms, outcome.';

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'utter_api') then
    begin
      create role utter_api nologin;
    exception when duplicate_object or unique_violation then
      null;  -- another database of the cluster, migrated at this moment, made it; so below
    end;
  end if;
  -- noinherit: a login holds a user's rights only after it said which user, by SET ROLE and the claims.
  if not exists (select from pg_catalog.pg_roles where rolname = 'utter_gateway') then
    begin
      create role utter_gateway nologin noinherit;
    exception when duplicate_object or unique_violation then
      null;
    end;
  end if;
  begin
    grant utter_api to utter_gateway;
  exception when unique_violation then
    null;
  end;
end
$$;

-- utter_api sees and changes rows of the user in the request's claims. It gets what the product does for users and
-- no more: credits and states are not theirs to write. A policy stores auth.uid() itself, not its name, so the role
-- needs no right on schema auth, which Supabase keeps to its own roles.
grant usage on schema public to utter_api;
grant select, insert (id), update (handle, display_name, avatar_url) on public.profiles to utter_api;
grant select, insert, update (deleted_at) on public.voices to utter_api;
grant select, insert, delete on public.generations to utter_api;
grant select, insert, delete on public.tasks to utter_api;

create policy utter_api_select on public.profiles for select to utter_api
  using (id = (select auth.uid()));
create policy utter_api_insert on public.profiles for insert to utter_api
  with check (id = (select auth.uid()));
create policy utter_api_update on public.profiles for update to utter_api
  using (id = (select auth.uid())) with check (id = (select auth.uid()));

create policy utter_api_select on public.voices for select to utter_api
  using (user_id = (select auth.uid()));
create policy utter_api_insert on public.voices for insert to utter_api
  with check (user_id = (select auth.uid()));
create policy utter_api_update on public.voices for update to utter_api
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

-- Foreign keys do not look at policies, so without the second half a user could point at another's voice.
create policy utter_api_select on public.generations for select to utter_api
  using (user_id = (select auth.uid()));
create policy utter_api_insert on public.generations for insert to utter_api
  with check (
    user_id = (select auth.uid())
    and (voice_id is null or exists (select from public.voices voice where voice.id = voice_id))
  );
create policy utter_api_delete on public.generations for delete to utter_api
  using (user_id = (select auth.uid()));

create policy utter_api_select on public.tasks for select to utter_api
  using (user_id = (select auth.uid()));
create policy utter_api_insert on public.tasks for insert to utter_api
  with check (
    user_id = (select auth.uid())
    and (voice_id is null or exists (select from public.voices voice where voice.id = voice_id))
    and (generation_id is null
      or exists (select from public.generations generation where generation.id = generation_id))
  );
create policy utter_api_delete on public.tasks for delete to utter_api
  using (user_id = (select auth.uid()));

-- Service functions: the only way a state changes. Each changes a row only while it is pending or processing and
-- returns whether it did. All lock the generation before its task, so two of them never wait for each other.
grant usage on schema utter to utter_gateway;

create function utter.user_exists(p_user_id uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from auth.users where id = p_user_id)
$$;
comment on function utter.user_exists(uuid) is 'Whether the user of a token still has an account.';

create function utter.generation_owner(p_generation_id uuid) returns uuid
language sql stable security definer set search_path = '' as $$
  select user_id from public.generations where id = p_generation_id
$$;
comment on function utter.generation_owner(uuid) is 'Whose generation it is, null when there is none.';

create function utter.set_provider_status(p_task_id uuid, p_status text) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- The closed list of the product, section 4, without the terminal words, which belong to the functions below.
  if p_status not in ('queued', 'ws_connecting', 'session_updated', 'streaming', 'finalizing', 'spooled') then
    raise exception 'unknown provider_status %', p_status using errcode = 'invalid_parameter_value';
  end if;
  update public.tasks
  set provider_status = p_status,
    status = case when p_status = 'queued' then status else 'processing' end
  where id = p_task_id and status in ('pending', 'processing');
  return found;
end
$$;
comment on function utter.set_provider_status(uuid, text) is 'Note how far the provider is with a task.';

create function utter.complete_generation(
  p_generation_id uuid,
  p_task_id uuid,
  p_object_key text,
  p_output_format text,
  p_audio_bytes bigint,
  p_audio_sha256 text,
  p_duration_seconds double precision,
  p_generation_time_seconds double precision,
  p_characters_billed integer,
  p_first_audio_seconds double precision,
  p_provider_metadata jsonb,
  p_timings jsonb
) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update public.generations
  set status = 'completed', completed_at = now(), error_message = null,
    audio_object_key = p_object_key,
    output_format = p_output_format,
    audio_bytes = p_audio_bytes,
    audio_sha256 = p_audio_sha256,
    duration_seconds = p_duration_seconds,
    generation_time_seconds = p_generation_time_seconds,
    characters_billed = p_characters_billed,
    first_audio_seconds = p_first_audio_seconds,
    provider_metadata = p_provider_metadata,
    timings = p_timings
  where id = p_generation_id and status in ('pending', 'processing');
  if not found then
    return false;
  end if;
  update public.tasks
  set status = 'completed', provider_status = 'completed', completed_at = now(), error = null,
    result = jsonb_build_object(
      'audio_url', '/api/generations/' || p_generation_id || '/audio',
      'audio_bytes', p_audio_bytes,
      'audio_sha256', p_audio_sha256
    )
  where id = p_task_id and generation_id = p_generation_id and status in ('pending', 'processing');
  return true;
end
$$;
comment on function utter.complete_generation(
  uuid, uuid, text, text, bigint, text, double precision, double precision, integer, double precision, jsonb, jsonb
) is 'The audio is stored: end a running generation and its task.';

create function utter.end_generation(p_generation_id uuid, p_task_id uuid, p_status text, p_message text)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  changed boolean;
begin
  update public.generations
  set status = p_status, error_message = p_message, completed_at = now(),
    generation_time_seconds = extract(epoch from now() - created_at)
  where id = p_generation_id and status in ('pending', 'processing');
  changed := found;
  update public.tasks
  set status = p_status, provider_status = p_status, error = p_message, completed_at = now(),
    cancellation_requested = cancellation_requested or p_status = 'cancelled'
  where (id = p_task_id or (p_task_id is null and generation_id = p_generation_id))
    and status in ('pending', 'processing');
  return changed or found;
end
$$;
comment on function utter.end_generation(uuid, uuid, text, text) is
  'The common part of fail_generation and cancel_generation; not for logins.';

create function utter.fail_generation(p_generation_id uuid, p_task_id uuid, p_message text) returns boolean
language sql security definer set search_path = '' as $$
  select utter.end_generation(p_generation_id, p_task_id, 'failed', p_message)
$$;
comment on function utter.fail_generation(uuid, uuid, text) is 'End a running generation and its task as failed.';

create function utter.cancel_generation(p_generation_id uuid, p_task_id uuid, p_message text) returns boolean
language sql security definer set search_path = '' as $$
  select utter.end_generation(p_generation_id, p_task_id, 'cancelled', p_message)
$$;
comment on function utter.cancel_generation(uuid, uuid, text) is
  'End a running generation and its task as cancelled.';

create function utter.interrupt_all(p_message text) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  ended integer;
begin
  -- A Modal job with an id still runs over there and is polled on (product section 11).
  update public.generations generation
  set status = 'failed', error_message = p_message, completed_at = now()
  where generation.status in ('pending', 'processing')
    and not exists (
      select from public.tasks task
      where task.generation_id = generation.id and task.provider = 'modal' and task.modal_job_id is not null
    );
  update public.tasks
  set status = 'failed', provider_status = 'failed', error = p_message, completed_at = now()
  where status in ('pending', 'processing')
    and type in ('generate', 'generate_stream')
    and not (provider = 'modal' and modal_job_id is not null);
  get diagnostics ended = row_count;
  return ended;
end
$$;
comment on function utter.interrupt_all(text) is
  'Fail what a dead server left running. Only for a server that is alone on its database.';

-- When sessions were started at a provider, so that all processes together stay within the account's limits.
-- One row a lane: whoever asks for a turn locks it, and so turns are given in the order they are asked for.
create table utter.provider_starts (
  lane text primary key,
  starts timestamptz[] not null default '{}'
);

comment on table utter.provider_starts is
  'Session starts of the last minute, given or promised, oldest first. A lane is a provider account.';

-- Seconds until the caller's turn, which is then taken; null when that is further off than p_longest_wait, and then
-- nothing is taken. No second holds more than p_per_second starts and no minute more than p_per_minute, whatever second
-- or minute one looks at: the vendor counts both (protocol reference 5).
create function utter.take_turn(
  p_lane text, p_per_second integer, p_per_minute integer, p_longest_wait double precision
) returns double precision
  language plpgsql
  security definer
  set search_path = ''
as $$
declare
  recent timestamptz[];
  present timestamptz;
  turn timestamptz;
  count integer;
begin
  insert into utter.provider_starts (lane) values (p_lane) on conflict (lane) do nothing;
  select starts into recent from utter.provider_starts where lane = p_lane for update;
  present := clock_timestamp();
  -- A promise is never further off than a minute beyond the longest wait: one that is was made before the clock was
  -- set back, and must not stop the service until the clock has caught up.
  select coalesce(array_agg(start order by start), '{}') into recent
  from unnest(recent) as start
  where start > present - interval '1 minute'
    and start < present + make_interval(secs => p_longest_wait) + interval '1 minute';
  count := cardinality(recent);
  -- greatest() leaves out nulls, and an index outside the array gives one.
  turn := greatest(
    present,
    recent[count - p_per_second + 1] + interval '1 second',
    recent[count - p_per_minute + 1] + interval '1 minute'
  );
  if turn > present + make_interval(secs => p_longest_wait) then
    return null;
  end if;
  update utter.provider_starts set starts = recent || turn where lane = p_lane;
  return extract(epoch from turn - present);
end;
$$;

comment on function utter.take_turn(text, integer, integer, double precision) is
  'Seconds until the caller may start a session; null when that is too far off.';

revoke execute on all functions in schema utter from public;
grant execute on function
  utter.user_exists(uuid),
  utter.generation_owner(uuid),
  utter.set_provider_status(uuid, text),
  utter.complete_generation(
    uuid, uuid, text, text, bigint, text, double precision, double precision, integer, double precision, jsonb, jsonb
  ),
  utter.fail_generation(uuid, uuid, text),
  utter.cancel_generation(uuid, uuid, text),
  utter.interrupt_all(text),
  utter.take_turn(text, integer, integer, double precision)
to utter_gateway;

-- migrate:down

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';
-- All at once, in the order requests take them: a request in the middle of its work and a migration that holds what it
-- needs next would wait for each other.
lock table public.profiles, public.voices, public.generations, public.tasks in access exclusive mode;

drop function utter.take_turn(text, integer, integer, double precision);
drop table utter.provider_starts;
drop function utter.interrupt_all(text);
drop function utter.cancel_generation(uuid, uuid, text);
drop function utter.fail_generation(uuid, uuid, text);
drop function utter.end_generation(uuid, uuid, text, text);
drop function utter.complete_generation(
  uuid, uuid, text, text, bigint, text, double precision, double precision, integer, double precision, jsonb, jsonb
);
drop function utter.set_provider_status(uuid, text);
drop function utter.generation_owner(uuid);
drop function utter.user_exists(uuid);
revoke usage on schema utter from utter_gateway;

drop policy utter_api_delete on public.tasks;
drop policy utter_api_insert on public.tasks;
drop policy utter_api_select on public.tasks;
drop policy utter_api_delete on public.generations;
drop policy utter_api_insert on public.generations;
drop policy utter_api_select on public.generations;
drop policy utter_api_update on public.voices;
drop policy utter_api_insert on public.voices;
drop policy utter_api_select on public.voices;
drop policy utter_api_update on public.profiles;
drop policy utter_api_insert on public.profiles;
drop policy utter_api_select on public.profiles;
revoke all on public.profiles, public.voices, public.generations, public.tasks from utter_api;
revoke usage on schema public from utter_api;
-- The roles stay, and the one's membership in the other: other databases of the cluster may use them.

-- A stream becomes a v1 generation that has ended; one that still runs has nobody left to end it.
update public.generations generation
set status = 'failed', error_message = 'The stream was interrupted. Please generate it again.', completed_at = now()
from public.tasks task
where task.generation_id = generation.id and task.type = 'generate_stream'
  and generation.status in ('pending', 'processing');
update public.tasks
set status = 'failed', error = 'The stream was interrupted. Please generate it again.', completed_at = now()
where type = 'generate_stream' and status in ('pending', 'processing');
update public.tasks set type = 'generate' where type = 'generate_stream';
alter table public.tasks drop constraint tasks_type_check;
alter table public.tasks add constraint tasks_type_check check (type in ('generate', 'design_preview', 'clone'));

alter table public.generations
  drop column timings,
  drop column first_audio_seconds,
  drop column characters_billed,
  drop column audio_sha256,
  drop column audio_bytes;
