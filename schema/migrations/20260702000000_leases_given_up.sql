-- migrate:up

-- Leases, more careful: what began while a renewal was under way is not given up, what a process gave up itself is
-- found by it too (it may be the only one), and what changed between look and take is left alone. Functions only: the
-- rows of running processes stay as they are, and so do the calls of the version before.

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

-- p_task_ids is all that the instance works on. Its other leases, except those of spooled audio, are dropped where the
-- task has ended; where it has not, something went wrong and others may take it. The lease stays then: its epoch counts
-- the attempts, and keeps earlier ones out.
create or replace function utter.renew_leases(p_instance uuid, p_task_ids uuid[], p_seconds double precision)
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

create or replace function utter.tasks_of_others(p_instance uuid)
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

create or replace function utter.take_over(
  p_task_id uuid, p_epoch integer, p_sign timestamptz, p_instance uuid, p_address text, p_seconds double precision
) returns table (epoch integer, user_id uuid, generation_id uuid)
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
    select taken, task.user_id, task.generation_id
    from public.tasks task
    where task.id = p_task_id and task.status in ('pending', 'processing')
      and not (task.provider = 'modal' and task.modal_job_id is not null);
end
$$;

-- migrate:down

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

create or replace function utter.renew_leases(p_instance uuid, p_task_ids uuid[], p_seconds double precision)
returns table (task_id uuid, epoch integer, status text)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
begin
  delete from utter.leases lease
  where lease.instance = p_instance and not lease.spooled and not (lease.task_id = any (p_task_ids))
    and not exists (
      select from public.tasks task where task.id = lease.task_id and task.status in ('pending', 'processing')
    );
  update utter.leases
  set until = 'epoch'
  where instance = p_instance and not spooled and not (task_id = any (p_task_ids)) and until <> 'epoch';
  update utter.leases
  set until = clock_timestamp() + make_interval(secs => p_seconds)
  where instance = p_instance and task_id = any (p_task_ids) and not spooled and until <> 'epoch';
  return query
    select lease.task_id, lease.epoch, task.status
    from utter.leases lease join public.tasks task on task.id = lease.task_id
    where lease.instance = p_instance;
end
$$;

create or replace function utter.tasks_of_others(p_instance uuid)
returns table (task_id uuid, type text, provider text, epoch integer, sign timestamptz, held boolean)
language sql stable security definer set search_path = '' as $$
  select task.id, task.type, task.provider, coalesce(lease.epoch, 0), coalesce(lease.until, task.updated_at),
    coalesce(lease.spooled and lease.until > clock_timestamp(), false)
  from public.tasks task
  left join utter.leases lease on lease.task_id = task.id
  where task.status in ('pending', 'processing')
    and lease.instance is distinct from p_instance
    and not (task.provider = 'modal' and task.modal_job_id is not null)
    and not (task.type = 'design_preview' and (task.provider = 'qwen' or task.status = 'pending'))
$$;
comment on function utter.tasks_of_others(uuid) is
  'Running tasks that another instance, or nobody, works on; sign changes as long as somebody does.';

create or replace function utter.take_over(
  p_task_id uuid, p_epoch integer, p_sign timestamptz, p_instance uuid, p_address text, p_seconds double precision
) returns table (epoch integer, user_id uuid, generation_id uuid)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
declare
  taken integer;
begin
  if p_epoch = 0 then
    insert into utter.leases (task_id, instance, address, until)
    values (p_task_id, p_instance, p_address, clock_timestamp() + make_interval(secs => p_seconds))
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
    select taken, task.user_id, task.generation_id
    from public.tasks task
    where task.id = p_task_id and task.status in ('pending', 'processing');
end
$$;
