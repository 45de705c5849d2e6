-- name: get
select id, user_id, type, status, modal_job_id, error, generation_id, voice_id, modal_poll_count, metadata, result,
  created_at, updated_at, completed_at, provider, provider_job_id, provider_status, provider_poll_count,
  cancellation_requested
from public.tasks
where id = :task_id and user_id = :owner;

-- name: find
select id, user_id, type, status, modal_job_id, error, generation_id, voice_id, modal_poll_count, metadata, result,
  created_at, updated_at, completed_at, provider, provider_job_id, provider_status, provider_poll_count,
  cancellation_requested
from public.tasks
where generation_id = :generation_id and user_id = :owner
order by created_at desc, id desc
limit 1;

-- name: running
select id, user_id, type, status, modal_job_id, error, generation_id, voice_id, modal_poll_count, metadata, result,
  created_at, updated_at, completed_at, provider, provider_job_id, provider_status, provider_poll_count,
  cancellation_requested
from public.tasks
where user_id = :owner and status in ('pending', 'processing')
order by created_at desc, id desc
limit :limit;

-- name: insert
-- A second active task of type generate breaks idx_tasks_generate_one_active_per_user.
insert into public.tasks (
  id, user_id, type, status, generation_id, voice_id, provider, provider_status, metadata
) values (
  :task_id, :owner, :type, 'pending', :generation_id, :voice_id, :provider, :provider_status, :metadata
)
returning id;

-- name: delete
delete from public.tasks
where id = :task_id and user_id = :owner
returning id, user_id, type, status, modal_job_id, error, generation_id, voice_id, modal_poll_count, metadata, result,
  created_at, updated_at, completed_at, provider, provider_job_id, provider_status, provider_poll_count,
  cancellation_requested;

-- name: set_provider_status
select utter.set_provider_status(:task_id, :status);

-- name: complete
select utter.complete_task(:task_id, :result);

-- name: has_active_generate
select exists (
  select from public.tasks
  where user_id = :owner and type = 'generate' and status in ('pending', 'processing')
);
