-- name: insert
insert into utter.leases (task_id, instance, address, until)
values (:task_id, :instance, :address, clock_timestamp() + make_interval(secs => :seconds))
returning task_id;

-- name: of_generation
-- Only while somebody holds it: what a dead process left says nothing about where the audio is.
-- A generation has one running task.
select lease.task_id, task.user_id, lease.instance, lease.address, lease.epoch
from utter.leases lease
join public.tasks task on task.id = lease.task_id
where task.generation_id = :generation_id and task.user_id = :owner and lease.until > clock_timestamp()
order by task.created_at desc, task.id desc
limit 1;

-- name: hold
select utter.hold(:task_id, :epoch);

-- name: renew
select task_id, epoch, status
from utter.renew_leases(:instance, :task_ids, :seconds);

-- name: tasks_of_others
select task_id, type, provider, epoch, sign, held
from utter.tasks_of_others(:instance);

-- name: take_over
select epoch, user_id, generation_id, provider_status
from utter.take_over(:task_id, :epoch, :sign, :instance, :address, :seconds);

-- name: hand_over
select utter.hand_over(:instance, :task_ids);

-- name: mark_spooled
select utter.mark_spooled(:task_id, :epoch, :seconds);

-- name: adopt_spooled
select utter.adopt_spooled(:task_id, :epoch, :instance, :seconds);

-- name: forget
select utter.forget_leases();
