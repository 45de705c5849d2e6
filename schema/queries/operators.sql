-- name: applied_migrations
select utter.applied_migrations();

-- name: login
-- Who we are to this server, and how many connections there are for us.
select current_user::text as name,
  role.rolsuper as is_superuser,
  role.rolbypassrls as bypasses_policies,
  -- Null where there is no such role: the migrations make it.
  (
    select pg_has_role(current_user, gateway.oid, 'usage')
    from pg_catalog.pg_roles gateway where gateway.rolname = 'utter_gateway'
  ) as is_gateway,
  current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
    as connections,
  case when role.rolconnlimit < 0 then null else role.rolconnlimit end as own_connections
from pg_catalog.pg_roles role
where role.rolname = current_user;

-- name: clock
select clock_timestamp();

-- name: server_process
select pg_backend_pid();

-- name: tell
select pg_notify(:channel, :message) is not null;

-- name: usage
select user_id, day, generations, characters, clones, designs, unknown_creates
from utter.usage(:from_day, :until_day, :user_id);

-- name: all_voices
select id, user_id, language, tts_provider, provider_voice_id, provider_target_model, provider_region,
  provider_voice_kind, has_recording, has_transcript, deleted
from utter.all_voices(:user_id, :after, :limit);

-- name: purgeable_voices
select id, user_id, recording_key, tts_provider, deleted_at
from utter.purgeable_voices(:seconds, :after, :limit);

-- name: purge_voice
select utter.purge_voice(:voice_id, :seconds);
