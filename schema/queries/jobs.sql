-- name: set_job
select utter.set_job(:task_id, :job_id);

-- name: count_poll
select utter.count_poll(:task_id);

-- name: claim_design
select utter.claim_design(:task_id);

-- name: take_due
select id, user_id, type, status, modal_job_id, error, generation_id, voice_id, modal_poll_count, metadata, result,
  created_at, updated_at, completed_at, provider, provider_job_id, provider_status, provider_poll_count,
  cancellation_requested
from utter.take_idle_jobs(:idle_seconds, :limit);
