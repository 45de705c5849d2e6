-- migrate:up

-- Whoever watches a task is told of each change at once, whichever process or program made it (product section 4,
-- events).

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

create function utter.tell_task_changed() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform pg_notify('utter_task_changed', old.id::text);
  return null;
end
$$;
comment on function utter.tell_task_changed() is 'Passes a task''s id on to the processes where somebody watches it.';
revoke execute on function utter.tell_task_changed() from public;

-- Not for poll counts and the like, of which nobody is told.
create trigger utter_tell_changed after update on public.tasks
  for each row
  when (
    old.status is distinct from new.status
    or old.provider_status is distinct from new.provider_status
    or old.error is distinct from new.error
    or old.result is distinct from new.result
  )
  execute function utter.tell_task_changed();

create trigger utter_tell_deleted after delete on public.tasks
  for each row execute function utter.tell_task_changed();

-- migrate:down

set local lock_timeout = '5s';

drop trigger utter_tell_deleted on public.tasks;
drop trigger utter_tell_changed on public.tasks;
drop function utter.tell_task_changed();
