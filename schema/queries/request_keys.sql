-- name: get
select user_id, key, request_sha256, generation_id, task_id
from utter.idempotency_keys
where user_id = :owner and key = :key and created_at > now() - make_interval(secs => :kept_seconds);

-- name: insert
insert into utter.idempotency_keys (user_id, key, request_sha256, generation_id, task_id)
values (:owner, :key, :request_sha256, :generation_id, :task_id)
returning key;

-- name: forget_old
-- One that has run out and that no chore has cleared away yet.
delete from utter.idempotency_keys
where user_id = :owner and key = :key and created_at <= now() - make_interval(secs => :older_than_seconds)
returning user_id;

-- name: forget
select utter.forget_keys(:older_than_seconds);
