-- name: generations
select id, user_id, status, object_key, audio_bytes, audio_sha256, worked_on
from utter.audit_generations(:after, :limit);

-- name: tasks
select task_id, user_id, type, reason
from utter.audit_tasks();

-- name: voices
select id, user_id, recording_key
from utter.audit_voices(:after, :limit);
