-- name: page
-- position() takes the search word literally, LIKE would read % and _ in it.
select id, user_id, name, reference_object_key, reference_transcript, description, language, source, created_at,
  tts_provider, provider_voice_id, provider_target_model, provider_region, provider_request_id, provider_voice_kind,
  provider_metadata, deleted_at
from public.voices
where user_id = :owner
  and deleted_at is null
  and (:source::text is null or source = :source)
  and (:search::text is null or position(lower(:search) in lower(name)) > 0)
order by created_at desc, id desc
limit :limit offset :offset;

-- name: count
-- How many the pages hold together.
select count(*)
from public.voices
where user_id = :owner
  and deleted_at is null
  and (:source::text is null or source = :source)
  and (:search::text is null or position(lower(:search) in lower(name)) > 0);

-- name: get
select id, user_id, name, reference_object_key, reference_transcript, description, language, source, created_at,
  tts_provider, provider_voice_id, provider_target_model, provider_region, provider_request_id, provider_voice_kind,
  provider_metadata, deleted_at
from public.voices
where id = :voice_id and user_id = :owner and deleted_at is null;

-- name: insert
insert into public.voices (
  id, user_id, name, reference_object_key, reference_transcript, description, language, source,
  tts_provider, provider_voice_id, provider_target_model, provider_region, provider_request_id, provider_voice_kind,
  provider_metadata
) values (
  :id, :user_id, :name, :reference_object_key, :reference_transcript, :description, :language, :source,
  :tts_provider, :provider_voice_id, :provider_target_model, :provider_region, :provider_request_id,
  :provider_voice_kind, :provider_metadata
)
returning id, user_id, name, reference_object_key, reference_transcript, description, language, source, created_at,
  tts_provider, provider_voice_id, provider_target_model, provider_region, provider_request_id, provider_voice_kind,
  provider_metadata, deleted_at;

-- name: delete
-- The first deletion's time is kept: the purge counts from it.
update public.voices
set deleted_at = coalesce(deleted_at, now())
where id = :voice_id and user_id = :owner
returning id;

-- name: get_any
-- Deleted ones too.
select id, user_id, name, reference_object_key, reference_transcript, description, language, source, created_at,
  tts_provider, provider_voice_id, provider_target_model, provider_region, provider_request_id, provider_voice_kind,
  provider_metadata, deleted_at
from public.voices
where id = :voice_id and user_id = :owner;

-- name: restore
update public.voices
set deleted_at = null
where id = :voice_id and user_id = :owner
returning id, user_id, name, reference_object_key, reference_transcript, description, language, source, created_at,
  tts_provider, provider_voice_id, provider_target_model, provider_region, provider_request_id, provider_voice_kind,
  provider_metadata, deleted_at;
