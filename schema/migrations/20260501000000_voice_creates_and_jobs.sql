-- migrate:up

-- What making voices and polling Modal jobs need: a ledger of billable creates, and more service functions.

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

-- A create is billed and cannot be undone, so it is written down before it is sent (product section 6). The row outlives
-- the task, the voice and the user it was made for: as long as the vendor has the voice, somebody must know of it.
create table utter.voice_creates (
  id uuid primary key,
  user_id uuid not null,
  kind text not null constraint voice_creates_kind_check check (kind in ('vc', 'vd')),
  region text not null,
  target_model text not null,
  state text not null default 'claimed'
    constraint voice_creates_state_check check (state in ('claimed', 'created', 'refused', 'ambiguous')),
  claimed_until timestamptz not null,
  attempts integer not null default 1,
  request jsonb not null default '{}',
  provider_voice_id text,
  request_id text,
  warnings text[] not null default '{}',
  preview_object_key text,
  preview_sha256 text
    constraint voice_creates_preview_sha256_check check (preview_sha256 ~ '^[0-9a-f]{64}$'),
  voice_id uuid,
  error text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint voice_creates_created_check check (state <> 'created' or provider_voice_id is not null)
);
comment on table utter.voice_creates is 'Billable creates of provider voices, each claimed before it was sent.';
comment on column utter.voice_creates.id is
  'The id the provider''s name for the voice is made from: of our voice for a clone, of the task for a design.';
comment on column utter.voice_creates.claimed_until is 'When whoever sends the create is taken for dead.';
comment on column utter.voice_creates.attempts is 'The number of the latest claim, from 1.';
comment on column utter.voice_creates.preview_sha256 is 'SHA-256 of the preview''s audio, lower-case hex.';
comment on column utter.voice_creates.request is 'What recovery needs to finish a design: text, language, instruct.';
comment on column utter.voice_creates.voice_id is 'The voice of ours that uses it, once there is one.';

create index idx_voice_creates_preview on utter.voice_creates (user_id, preview_sha256)
  where preview_sha256 is not null;
create index idx_voice_creates_claimed on utter.voice_creates (claimed_until) where state = 'claimed';

create trigger set_updated_at before update on utter.voice_creates
  for each row execute function public.handle_updated_at();

alter table utter.voice_creates enable row level security;
grant usage on schema utter to utter_api;
grant select, update (voice_id) on utter.voice_creates to utter_api;
create policy utter_api_select on utter.voice_creates for select to utter_api
  using (user_id = (select auth.uid()));
create policy utter_api_update on utter.voice_creates for update to utter_api
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

-- Service functions, by the rules of the gateway's. Whoever needs a create and its task locks the create first.

-- Claims the create `p_id` for p_seconds. Gives its row, whether the caller is the one who may send it, and whether an
-- earlier sender may have succeeded: then the provider's list is to be searched first.
create function utter.claim_create(
  p_id uuid, p_user_id uuid, p_kind text, p_region text, p_target_model text, p_request jsonb,
  p_seconds double precision
) returns table (entry utter.voice_creates, granted boolean, recover boolean)
language plpgsql security definer set search_path = '' as $$
begin
  insert into utter.voice_creates (id, user_id, kind, region, target_model, request, claimed_until)
  values (p_id, p_user_id, p_kind, p_region, p_target_model, p_request,
    clock_timestamp() + make_interval(secs => p_seconds))
  on conflict (id) do nothing
  returning * into entry;
  if found then
    granted := true;
    recover := false;
    return next;
    return;
  end if;
  select * into strict entry from utter.voice_creates where id = p_id for update;
  -- A user may name a design of theirs as the voice of a clone; it is none.
  granted := entry.user_id = p_user_id and entry.kind = p_kind and (
    entry.state in ('refused', 'ambiguous')
    or (entry.state = 'claimed' and entry.claimed_until <= clock_timestamp())
  );
  recover := granted and entry.state <> 'refused';
  if granted then
    update utter.voice_creates
    set state = 'claimed', attempts = attempts + 1, error = null,
      claimed_until = clock_timestamp() + make_interval(secs => p_seconds),  -- after the wait for the lock
      region = p_region, target_model = p_target_model, request = p_request
    where id = p_id
    returning * into entry;
  end if;
  return next;
end
$$;
comment on function utter.claim_create(uuid, uuid, text, text, text, jsonb, double precision) is
  'Become the only one who may send a billable create.';

create function utter.record_created(
  p_id uuid, p_provider_voice_id text, p_target_model text, p_request_id text, p_warnings text[],
  p_preview_object_key text, p_preview_sha256 text
) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- Also the late word of a claim that ran out: the voice is there and paid for.
  update utter.voice_creates
  set state = 'created', error = null,
    provider_voice_id = p_provider_voice_id,
    target_model = p_target_model,
    request_id = p_request_id,
    warnings = p_warnings,
    preview_object_key = p_preview_object_key,
    preview_sha256 = p_preview_sha256
  where id = p_id and state <> 'created';
  return found;
end
$$;
comment on function utter.record_created(uuid, text, text, text, text[], text, text) is
  'The provider made the voice of this create.';

create function utter.record_failed(p_id uuid, p_state text, p_error text, p_attempt integer) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  if p_state not in ('refused', 'ambiguous') then
    raise exception 'a create does not fail as %', p_state using errcode = 'invalid_parameter_value';
  end if;
  -- The late word of an earlier claim would free the row while the create of the latest one is being sent.
  update utter.voice_creates
  set state = p_state, error = p_error
  where id = p_id and state = 'claimed' and (p_attempt is null or attempts = p_attempt);
  return found;
end
$$;
comment on function utter.record_failed(uuid, text, text, integer) is
  'The provider refused this create, or nobody knows what became of it.';

-- Designs whose maker died: each is given to one caller, who looks for the voice and never creates it again.
create function utter.take_stale_designs(p_seconds double precision, p_limit integer)
returns setof utter.voice_creates
language sql security definer set search_path = '' as $$
  update utter.voice_creates
  set claimed_until = clock_timestamp() + make_interval(secs => p_seconds), attempts = attempts + 1
  where id in (
    select id from utter.voice_creates
    where kind = 'vd' and state = 'claimed' and claimed_until <= clock_timestamp()
    order by claimed_until
    limit p_limit
    for update skip locked
  )
  returning *
$$;
comment on function utter.take_stale_designs(double precision, integer) is
  'Designs that were claimed by somebody who died, claimed anew.';

create function utter.orphans(p_unsaved_seconds double precision)
returns table (
  id uuid, user_id uuid, kind text, region text, target_model text, provider_voice_id text, request_id text,
  reason text, created_at timestamptz
)
language sql stable security definer set search_path = '' as $$
  select entry.id, entry.user_id, entry.kind, entry.region, entry.target_model, entry.provider_voice_id,
    entry.request_id, orphaned.reason, entry.created_at
  from utter.voice_creates entry
  left join public.voices voice on voice.id = coalesce(entry.voice_id, entry.id)
  left join public.tasks task on task.id = entry.id
  cross join lateral (
    select case
      when entry.state = 'ambiguous' then 'ambiguous'
      when entry.state = 'claimed' and entry.claimed_until <= now() then 'abandoned'
      when entry.state <> 'created' or voice.id is not null then null
      when entry.voice_id is not null then 'voice_gone'
      when entry.kind = 'vc' then 'never_saved'
      when task.id is null then 'preview_deleted'
      when task.status in ('failed', 'cancelled') then 'preview_ended'
      when entry.updated_at < now() - make_interval(secs => p_unsaved_seconds) then 'never_saved'
    end as reason
  ) orphaned
  where orphaned.reason is not null
  order by entry.created_at, entry.id
$$;
comment on function utter.orphans(double precision) is
  'Voices the provider keeps, or may keep, that no voice of ours uses.';

create function utter.complete_task(p_task_id uuid, p_result jsonb) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update public.tasks
  set status = 'completed', provider_status = 'completed', completed_at = now(), error = null, result = p_result
  where id = p_task_id and type = 'design_preview' and status in ('pending', 'processing');
  return found;
end
$$;
comment on function utter.complete_task(uuid, jsonb) is 'The preview is stored: end its running task with the result.';

create function utter.set_job(p_task_id uuid, p_job_id text) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- A second job would leave the first one running with nobody to ask for it.
  update public.tasks
  set modal_job_id = p_job_id, provider_job_id = p_job_id, status = 'processing'
  where id = p_task_id and provider = 'modal' and status in ('pending', 'processing')
    and (modal_job_id is null or modal_job_id = p_job_id);
  return found;
end
$$;
comment on function utter.set_job(uuid, text) is 'The Modal job that works on a task.';

create function utter.count_poll(p_task_id uuid) returns integer
language sql security definer set search_path = '' as $$
  update public.tasks
  set provider_poll_count = provider_poll_count + 1,
    modal_poll_count = modal_poll_count + case when provider = 'modal' then 1 else 0 end
  where id = p_task_id and status in ('pending', 'processing', 'completed', 'failed')
  returning case when provider = 'modal' then modal_poll_count else provider_poll_count end
$$;
comment on function utter.count_poll(uuid) is 'How often a client has asked for the task, this time included.';

create function utter.claim_design(p_task_id uuid) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update public.tasks set status = 'processing'
  where id = p_task_id and type = 'design_preview' and provider = 'modal' and status = 'pending';
  return found;
end
$$;
comment on function utter.claim_design(uuid) is 'Become the only one who starts a Modal design.';

-- The trigger on tasks notes the time of every change, a client's poll included: a job that was not touched for
-- p_idle_seconds has nobody who asks for it, and being given out here counts as a touch.
create function utter.take_idle_jobs(p_idle_seconds double precision, p_limit integer)
returns setof public.tasks
language sql security definer set search_path = '' as $$
  update public.tasks set updated_at = now()
  where id in (
    select id from public.tasks
    where provider = 'modal' and modal_job_id is not null and status in ('pending', 'processing')
      and updated_at <= now() - make_interval(secs => p_idle_seconds)
    order by updated_at
    limit p_limit
    for update skip locked
  )
  returning *
$$;
comment on function utter.take_idle_jobs(double precision, integer) is
  'Running Modal jobs that no client has asked for lately, each to one caller.';

-- As before, and: a generation that is completed already, by v1 or by whoever came first, lets its task complete too.
create or replace function utter.complete_generation(
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
declare
  changed boolean;
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
  where id = p_generation_id and status in ('pending', 'processing')
    and (audio_object_key is null or audio_object_key = p_object_key);
  changed := found;
  update public.tasks task
  set status = 'completed', provider_status = 'completed', completed_at = now(), error = null,
    result = jsonb_strip_nulls(jsonb_build_object(
      'audio_url', '/api/generations/' || p_generation_id || '/audio',
      'audio_bytes', generation.audio_bytes,
      'audio_sha256', generation.audio_sha256
    ))
  from public.generations generation
  where task.id = p_task_id and task.generation_id = p_generation_id and task.status in ('pending', 'processing')
    and generation.id = p_generation_id and generation.status = 'completed'
    and generation.audio_object_key is not null;
  return changed or found;
end
$$;

revoke execute on all functions in schema utter from public;
grant execute on function
  utter.claim_create(uuid, uuid, text, text, text, jsonb, double precision),
  utter.record_created(uuid, text, text, text, text[], text, text),
  utter.record_failed(uuid, text, text, integer),
  utter.take_stale_designs(double precision, integer),
  utter.orphans(double precision),
  utter.complete_task(uuid, jsonb),
  utter.set_job(uuid, text),
  utter.count_poll(uuid),
  utter.claim_design(uuid),
  utter.take_idle_jobs(double precision, integer)
to utter_gateway;

-- migrate:down

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';
-- All at once, in the order requests take them: a request in the middle of its work and a migration that holds what it
-- needs next would wait for each other.
lock table utter.voice_creates, public.tasks in access exclusive mode;

create or replace function utter.complete_generation(
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

drop function utter.take_idle_jobs(double precision, integer);
drop function utter.claim_design(uuid);
drop function utter.count_poll(uuid);
drop function utter.set_job(uuid, text);
drop function utter.complete_task(uuid, jsonb);
drop function utter.orphans(double precision);
drop function utter.take_stale_designs(double precision, integer);
drop function utter.record_failed(uuid, text, text, integer);
drop function utter.record_created(uuid, text, text, text, text[], text, text);
drop function utter.claim_create(uuid, uuid, text, text, text, jsonb, double precision);

-- A preview that is being made has nobody left to end it, and v1 would be polled for it for ever.
update public.tasks
set status = 'failed', provider_status = 'failed', completed_at = now(),
  error = 'The preview was interrupted. Please design the voice again.'
where type = 'design_preview' and provider = 'qwen' and status in ('pending', 'processing');

-- What was made and never used is known nowhere else: `utter orphans` before this.
drop table utter.voice_creates;
revoke usage on schema utter from utter_api;
