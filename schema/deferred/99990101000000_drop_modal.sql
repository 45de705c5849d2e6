-- migrate:up

-- Takes out what only Modal needed. Not one of the migrations that `utter migrate` applies, and not to be moved there
-- before each gate below is open (docs/operations/clean-up.md). Each looks by itself and refuses with words.

set local lock_timeout = '5s';
lock table public.voices, public.generations, public.tasks in access exclusive mode;

do $$
declare
  found text;
begin
  select string_agg(id::text, ', ') into found
  from (select id from public.tasks where provider = 'modal' and status in ('pending', 'processing') limit 5) running;
  if found is not null then
    raise exception 'Modal still works on tasks: %. Let them end, or cancel them.', found;
  end if;

  select max(created_at)::text into found from public.generations
  where tts_provider = 'modal' and created_at > now() - interval '30 days';
  if found is not null then
    raise exception 'Modal was used at %. Wait until 30 days have passed without it.', found;
  end if;

  select count(*)::text into found from public.voices modal
  where modal.tts_provider = 'modal' and modal.deleted_at is null;
  if found <> '0' then
    raise exception '% voices can be used with Modal only. Re-clone them (utter voices migrate) or delete them.', found;
  end if;

  select string_agg(proname, ', ' order by proname) into found
  from pg_proc
  where pronamespace in ('utter'::regnamespace, 'public'::regnamespace)
    and prosrc ~ 'modal_(job_id|poll_count)' and proname <> 'increment_task_modal_poll_count';
  if found is not null then
    raise exception 'Functions still read the columns: %. Release a gateway without the Modal path first; its '
      'migrations replace them.', found;
  end if;
end
$$;

drop function if exists public.increment_task_modal_poll_count(uuid, uuid);
drop index if exists public.idx_tasks_modal_job_id;
-- What they say is in provider_job_id and provider_poll_count as well, where it stays.
update public.tasks set provider_job_id = modal_job_id where provider_job_id is null and modal_job_id is not null;
update public.tasks set provider_poll_count = modal_poll_count
where provider = 'modal' and provider_poll_count < modal_poll_count;
alter table public.tasks drop column modal_job_id, drop column modal_poll_count;

alter table public.voices alter column tts_provider set default 'qwen';
alter table public.tasks alter column provider set default 'qwen';
alter table public.generations alter column tts_provider set default 'qwen';

-- migrate:down

set local lock_timeout = '5s';
lock table public.voices, public.generations, public.tasks in access exclusive mode;

alter table public.generations alter column tts_provider set default 'modal';
alter table public.tasks alter column provider set default 'modal';
alter table public.voices alter column tts_provider set default 'modal';

alter table public.tasks
  add column modal_job_id text,
  add column modal_poll_count integer not null default 0;
update public.tasks set modal_job_id = provider_job_id, modal_poll_count = provider_poll_count where provider = 'modal';
create index idx_tasks_modal_job_id on public.tasks (modal_job_id) where modal_job_id is not null;

create function public.increment_task_modal_poll_count(p_task_id uuid, p_user_id uuid) returns integer
language sql security definer set search_path = ''
as $$
  update public.tasks
  set modal_poll_count = modal_poll_count + 1
  where id = p_task_id and user_id = p_user_id
  returning modal_poll_count
$$;
revoke execute on function public.increment_task_modal_poll_count(uuid, uuid) from public;
grant execute on function public.increment_task_modal_poll_count(uuid, uuid) to service_role;
