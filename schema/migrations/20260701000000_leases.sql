-- migrate:up

-- What keeps work alive when a process dies: leases with fencing epochs, keys that make a repeated request the same
-- one, and the failure's name on the generation (product sections 4 and 11).

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

alter table public.generations add column fault text;
comment on column public.generations.fault is 'Which failure of the gateway''s taxonomy ended it.';

-- A table of its own: Supabase shows the columns of tasks to browsers, and a renewal would touch tasks.updated_at, by
-- which idle Modal jobs are told. No foreign key: deleting a task would lock the two in the order opposite to that of
-- everything else here, which takes the lease first.
create table utter.leases (
  task_id uuid primary key,
  instance uuid not null,
  address text,
  epoch integer not null default 1 constraint leases_epoch_check check (epoch > 0),
  until timestamptz not null,
  spooled boolean not null default false,
  created_at timestamptz not null default now()
);
comment on table utter.leases is 'Which process works on a running task, and until when nobody else may.';
comment on column utter.leases.instance is 'The process: a new id for each start.';
comment on column utter.leases.address is 'Base URL at which other instances reach that process; null when they cannot.';
comment on column utter.leases.epoch is 'Number of the attempt, from 1: what an earlier one writes late changes nothing.';
comment on column utter.leases.until is 'Renewed while the process lives; the epoch, 1970, when it gave the task up.';
comment on column utter.leases.spooled is 'The audio is whole, on a disk of that process, and nobody else may take it.';

alter table utter.leases enable row level security;
grant select, insert (task_id, instance, address, until) on utter.leases to utter_api;
create policy utter_api_select on utter.leases for select to utter_api
  using (exists (select from public.tasks task where task.id = task_id));
create policy utter_api_insert on utter.leases for insert to utter_api
  with check (exists (select from public.tasks task where task.id = task_id));

create table utter.idempotency_keys (
  user_id uuid not null references auth.users (id) on delete cascade,
  key text not null constraint idempotency_keys_key_check check (char_length(key) between 1 and 255),
  request_sha256 text not null,
  generation_id uuid not null references public.generations (id) on delete cascade,
  task_id uuid not null,
  created_at timestamptz not null default now(),
  primary key (user_id, key)
);
comment on table utter.idempotency_keys is 'Requests that a client may repeat, and the generation each one began.';
comment on column utter.idempotency_keys.request_sha256 is 'Of route and body, lower-case hex: a key is for one request.';
create index idx_idempotency_keys_generation on utter.idempotency_keys (generation_id);

alter table utter.idempotency_keys enable row level security;
grant select, delete, insert (user_id, key, request_sha256, generation_id, task_id)
  on utter.idempotency_keys to utter_api;
create policy utter_api_select on utter.idempotency_keys for select to utter_api
  using (user_id = (select auth.uid()));
create policy utter_api_insert on utter.idempotency_keys for insert to utter_api
  with check (
    user_id = (select auth.uid())
    and exists (select from public.generations generation where generation.id = generation_id)
  );
create policy utter_api_delete on utter.idempotency_keys for delete to utter_api
  using (user_id = (select auth.uid()));

-- Service functions, by the rules of the gateway's. Whoever needs a lease and its rows locks the lease first.

create function utter.hold(p_task_id uuid, p_epoch integer) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- Locked until the caller's transaction ends, so that nobody takes the task over in the middle of it. A lease that
  -- has run out and that nobody took is still good: finished audio is not thrown away for a database that was away.
  perform from utter.leases where task_id = p_task_id and epoch = p_epoch for update;
  return found;
end
$$;
comment on function utter.hold(uuid, integer) is 'Whether attempt p_epoch of a task is the latest one.';

-- p_task_ids is all that the instance works on. Its other leases, except those of spooled audio, are dropped where the
-- task has ended; where it has not, something went wrong and others may take it. The lease stays then: its epoch counts
-- the attempts, and keeps earlier ones out.
create function utter.renew_leases(p_instance uuid, p_task_ids uuid[], p_seconds double precision)
returns table (task_id uuid, epoch integer, status text)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
begin
  delete from utter.leases lease
  where lease.instance = p_instance and not lease.spooled and not (lease.task_id = any (p_task_ids))
    and not exists (
      select from public.tasks task where task.id = lease.task_id and task.status in ('pending', 'processing')
    );
  -- Not what was written for less than half a lease: the list is older than this statement, and what began meanwhile
  -- is not on it. A renewal takes a third of a lease at most.
  update utter.leases
  set until = 'epoch'
  where instance = p_instance and not spooled and not (task_id = any (p_task_ids)) and until <> 'epoch'
    and until < clock_timestamp() + make_interval(secs => p_seconds / 2);
  update utter.leases
  set until = clock_timestamp() + make_interval(secs => p_seconds)
  where instance = p_instance and task_id = any (p_task_ids) and not spooled and until <> 'epoch';
  return query
    select lease.task_id, lease.epoch, task.status
    from utter.leases lease join public.tasks task on task.id = lease.task_id
    where lease.instance = p_instance;
end
$$;
comment on function utter.renew_leases(uuid, uuid[], double precision) is
  'Keep what the instance works on, and say how the rows of it stand.';

-- A Modal task with a job is polled on by anybody; a Qwen preview is recovered by its ledger; a Modal preview that
-- nobody began is begun by a poll only (product sections 6 and 11).
create function utter.tasks_of_others(p_instance uuid)
returns table (task_id uuid, type text, provider text, epoch integer, sign timestamptz, held boolean)
language sql stable security definer set search_path = '' as $$
  select task.id, task.type, task.provider, coalesce(lease.epoch, 0), coalesce(lease.until, task.updated_at),
    coalesce(lease.spooled and lease.until > clock_timestamp(), false)
  from public.tasks task
  left join utter.leases lease on lease.task_id = task.id
  where task.status in ('pending', 'processing')
    and (lease.instance is distinct from p_instance or lease.until = 'epoch')
    and not (task.provider = 'modal' and task.modal_job_id is not null)
    and not (task.type = 'design_preview' and (task.provider = 'qwen' or task.status = 'pending'))
$$;
comment on function utter.tasks_of_others(uuid) is
  'Running tasks that others, or nobody, work on, or that this one gave up; sign changes as long as somebody does.';

create function utter.take_over(
  p_task_id uuid, p_epoch integer, p_sign timestamptz, p_instance uuid, p_address text, p_seconds double precision
) returns table (epoch integer, user_id uuid, generation_id uuid, provider_status text)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
declare
  taken integer;
begin
  if p_epoch = 0 then
    -- The sign of a task without lease is its last change; with the sign of one that was handed over, any will do.
    insert into utter.leases (task_id, instance, address, until)
    select p_task_id, p_instance, p_address, clock_timestamp() + make_interval(secs => p_seconds)
    from public.tasks task
    where task.id = p_task_id and (task.updated_at = p_sign or p_sign = 'epoch')
    on conflict do nothing
    returning leases.epoch into taken;
  else
    update utter.leases
    set epoch = leases.epoch + 1, instance = p_instance, address = p_address, spooled = false,
      until = clock_timestamp() + make_interval(secs => p_seconds)
    where task_id = (
      select lease.task_id from utter.leases lease
      where lease.task_id = p_task_id and lease.epoch = p_epoch and lease.until = p_sign
      for update skip locked
    )
    returning leases.epoch into taken;
  end if;
  if taken is null then
    return;
  end if;
  return query
    select taken, task.user_id, task.generation_id, task.provider_status
    from public.tasks task
    where task.id = p_task_id and task.status in ('pending', 'processing')
      and not (task.provider = 'modal' and task.modal_job_id is not null);
end
$$;
comment on function utter.take_over(uuid, integer, timestamptz, uuid, text, double precision) is
  'Become the one who works on a task, unless somebody else was faster or it gave a sign of life.';

create function utter.hand_over(p_instance uuid, p_task_ids uuid[]) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  given integer;
begin
  update utter.leases set until = 'epoch'
  where instance = p_instance and task_id = any (p_task_ids) and not spooled;
  get diagnostics given = row_count;
  return given;
end
$$;
comment on function utter.hand_over(uuid, uuid[]) is 'Give tasks up: the next to look takes them at once.';

create function utter.mark_spooled(p_task_id uuid, p_epoch integer, p_seconds double precision) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update utter.leases
  set spooled = true, until = clock_timestamp() + make_interval(secs => p_seconds)
  where task_id = p_task_id and epoch = p_epoch;
  return found and utter.set_provider_status(p_task_id, 'spooled');
end
$$;
comment on function utter.mark_spooled(uuid, integer, double precision) is
  'The audio waits on a disk of its process to be stored; false when the task has ended or was taken over.';

create function utter.adopt_spooled(p_task_id uuid, p_epoch integer, p_instance uuid, p_seconds double precision)
returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update utter.leases
  set instance = p_instance, spooled = true, address = null,
    until = clock_timestamp() + make_interval(secs => p_seconds)
  where task_id = p_task_id and epoch = p_epoch
    and exists (select from public.tasks where id = p_task_id and status in ('pending', 'processing'));
  return found;
end
$$;
comment on function utter.adopt_spooled(uuid, integer, uuid, double precision) is
  'A process has found the spooled audio of a dead one on its disk; false when it is not wanted any more.';

create function utter.fail_generation(
  p_generation_id uuid, p_task_id uuid, p_message text, p_fault text, p_free_key boolean
) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  if not utter.end_generation(p_generation_id, p_task_id, 'failed', p_message) then
    return false;
  end if;
  update public.generations set fault = p_fault where id = p_generation_id and status = 'failed';
  if p_free_key then
    delete from utter.idempotency_keys where generation_id = p_generation_id;
  end if;
  return true;
end
$$;
comment on function utter.fail_generation(uuid, uuid, text, text, boolean) is
  'End a running generation and its task as failed, by a named fault; the same request may then be sent again.';

-- As before, and: whoever works on a task that is cancelled is told.
create or replace function utter.end_generation(p_generation_id uuid, p_task_id uuid, p_status text, p_message text)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  changed boolean;
  ended uuid;
  any_task boolean := false;
begin
  update public.generations
  set status = p_status, error_message = p_message, completed_at = now(),
    generation_time_seconds = extract(epoch from now() - created_at)
  where id = p_generation_id and status in ('pending', 'processing');
  changed := found;
  for ended in
    update public.tasks
    set status = p_status, provider_status = p_status, error = p_message, completed_at = now(),
      cancellation_requested = cancellation_requested or p_status = 'cancelled'
    where (id = p_task_id or (p_task_id is null and generation_id = p_generation_id))
      and status in ('pending', 'processing')
    returning id
  loop
    any_task := true;
    if p_status = 'cancelled' then
      perform pg_notify('utter_cancelled', ended::text);
    end if;
  end loop;
  return changed or any_task;
end
$$;

-- v1's page deletes tasks; a running generation that lost its task that way has nobody left to end it.
create function utter.fail_stranded(p_older_than_seconds double precision, p_message text) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  ended integer;
begin
  update public.generations generation
  set status = 'failed', error_message = p_message, completed_at = now()
  where generation.status in ('pending', 'processing')
    and generation.created_at < now() - make_interval(secs => p_older_than_seconds)
    and not exists (
      select from public.tasks task
      where task.generation_id = generation.id and task.status in ('pending', 'processing')
    );
  get diagnostics ended = row_count;
  return ended;
end
$$;
comment on function utter.fail_stranded(double precision, text) is 'Fail running generations that no running task works on.';

create function utter.forget_leases() returns integer
language plpgsql security definer set search_path = '' as $$
declare
  forgotten integer;
begin
  -- A lease is renewed within seconds; an hour after the last time its process is dead, or has no use for it.
  delete from utter.leases lease
  where lease.until < clock_timestamp() - interval '1 hour'
    and not exists (
      select from public.tasks task where task.id = lease.task_id and task.status in ('pending', 'processing')
    );
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;
comment on function utter.forget_leases() is 'Drop the leases that dead processes left on ended tasks.';

create function utter.forget_keys(p_older_than_seconds double precision) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  forgotten integer;
begin
  delete from utter.idempotency_keys where created_at < now() - make_interval(secs => p_older_than_seconds);
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;
comment on function utter.forget_keys(double precision) is 'Drop idempotency keys that have run out.';

-- For the auditor, who compares rows with objects (product section 11). By id, a page at a time: there may be millions.
create function utter.audit_generations(p_after uuid, p_limit integer)
returns table (
  id uuid, user_id uuid, status text, object_key text, audio_bytes bigint, audio_sha256 text, worked_on boolean
)
language sql stable security definer set search_path = '' as $$
  select generation.id, generation.user_id, generation.status, generation.audio_object_key, generation.audio_bytes,
    generation.audio_sha256,
    exists (
      select from public.tasks task
      where task.generation_id = generation.id and task.status in ('pending', 'processing')
    )
  from public.generations generation
  where p_after is null or generation.id > p_after
  order by generation.id
  limit p_limit
$$;
comment on function utter.audit_generations(uuid, integer) is 'What the auditor compares with the stored audio.';

create function utter.audit_tasks() returns table (task_id uuid, user_id uuid, type text, reason text)
language sql stable security definer set search_path = '' as $$
  select task.id, task.user_id, task.type, judged.reason
  from public.tasks task
  left join utter.leases lease on lease.task_id = task.id
  left join public.generations generation on generation.id = task.generation_id
  cross join lateral (
    select case
      when generation.status in ('completed', 'failed', 'cancelled') then 'generation_ended'
      when task.provider = 'modal' and task.modal_job_id is not null then null
      when task.type = 'design_preview' and (task.provider = 'qwen' or task.status = 'pending') then null
      when lease.until < clock_timestamp() then 'lease_over'
      when lease.task_id is null and task.updated_at < clock_timestamp() - interval '1 minute' then 'no_lease'
    end as reason
  ) judged
  where task.status in ('pending', 'processing') and judged.reason is not null
  order by task.id
$$;
comment on function utter.audit_tasks() is 'Running tasks that nobody works on.';

create function utter.audit_voices(p_after uuid, p_limit integer)
returns table (id uuid, user_id uuid, recording_key text)
language sql stable security definer set search_path = '' as $$
  select voice.id, voice.user_id, voice.reference_object_key
  from public.voices voice
  where (p_after is null or voice.id > p_after) and voice.reference_object_key is not null and voice.deleted_at is null
  order by voice.id
  limit p_limit
$$;
comment on function utter.audit_voices(uuid, integer) is 'Voices and the recordings they were made from.';

-- A server that is alone on its database needs no rule of its own any more: what a dead one left has a lease.
drop function utter.interrupt_all(text);

revoke execute on all functions in schema utter from public;
grant execute on function
  utter.hold(uuid, integer),
  utter.renew_leases(uuid, uuid[], double precision),
  utter.tasks_of_others(uuid),
  utter.take_over(uuid, integer, timestamptz, uuid, text, double precision),
  utter.hand_over(uuid, uuid[]),
  utter.mark_spooled(uuid, integer, double precision),
  utter.adopt_spooled(uuid, integer, uuid, double precision),
  utter.fail_generation(uuid, uuid, text, text, boolean),
  utter.fail_stranded(double precision, text),
  utter.forget_leases(),
  utter.forget_keys(double precision),
  utter.audit_generations(uuid, integer),
  utter.audit_tasks(),
  utter.audit_voices(uuid, integer)
to utter_gateway;

-- migrate:down

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';
-- All at once, in the order requests take them: a request in the middle of its work and a migration that holds what it
-- needs next would wait for each other.
lock table utter.leases, public.generations, public.tasks, utter.idempotency_keys in access exclusive mode;

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
revoke execute on function utter.interrupt_all(text) from public;
grant execute on function utter.interrupt_all(text) to utter_gateway;

drop function utter.audit_voices(uuid, integer);
drop function utter.audit_tasks();
drop function utter.audit_generations(uuid, integer);
drop function utter.forget_keys(double precision);
drop function utter.forget_leases();
drop function utter.fail_stranded(double precision, text);

create or replace function utter.end_generation(p_generation_id uuid, p_task_id uuid, p_status text, p_message text)
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

drop function utter.fail_generation(uuid, uuid, text, text, boolean);
drop function utter.adopt_spooled(uuid, integer, uuid, double precision);
drop function utter.mark_spooled(uuid, integer, double precision);
drop function utter.hand_over(uuid, uuid[]);
drop function utter.take_over(uuid, integer, timestamptz, uuid, text, double precision);
drop function utter.tasks_of_others(uuid);
drop function utter.renew_leases(uuid, uuid[], double precision);
drop function utter.hold(uuid, integer);

drop table utter.idempotency_keys;
drop table utter.leases;
alter table public.generations drop column fault;
