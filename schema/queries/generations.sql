-- name: page
-- The join has no deleted_at filter: a deleted voice keeps its name here (contract, appendix A).
select generation.id, generation.user_id, generation.voice_id, voice.name as voice_name, generation.text,
  generation.audio_object_key, generation.duration_seconds, generation.language, generation.status,
  generation.generation_time_seconds, generation.error_message, generation.created_at, generation.completed_at,
  generation.tts_provider, generation.provider_model, generation.output_format, generation.provider_metadata,
  generation.audio_bytes, generation.audio_sha256, generation.characters_billed, generation.first_audio_seconds,
  generation.timings, generation.fault
from public.generations generation
left join public.voices voice on voice.id = generation.voice_id and voice.user_id = :owner
where generation.user_id = :owner
  and (:status::text is null or generation.status = :status)
  and (:search::text is null or position(lower(:search) in lower(generation.text)) > 0)
order by generation.created_at desc, generation.id desc
limit :limit offset :offset;

-- name: count
-- How many the pages hold together.
select count(*)
from public.generations
where user_id = :owner
  and (:status::text is null or status = :status)
  and (:search::text is null or position(lower(:search) in lower(text)) > 0);

-- name: get
select generation.id, generation.user_id, generation.voice_id, voice.name as voice_name, generation.text,
  generation.audio_object_key, generation.duration_seconds, generation.language, generation.status,
  generation.generation_time_seconds, generation.error_message, generation.created_at, generation.completed_at,
  generation.tts_provider, generation.provider_model, generation.output_format, generation.provider_metadata,
  generation.audio_bytes, generation.audio_sha256, generation.characters_billed, generation.first_audio_seconds,
  generation.timings, generation.fault
from public.generations generation
left join public.voices voice on voice.id = generation.voice_id and voice.user_id = :owner
where generation.id = :generation_id and generation.user_id = :owner;

-- name: insert
insert into public.generations (id, user_id, voice_id, text, language, status, tts_provider, provider_model)
values (:generation_id, :owner, :voice_id, :text, :language, 'processing', :provider, :provider_model)
returning id;

-- name: delete
delete from public.generations generation
where generation.id = :generation_id and generation.user_id = :owner
returning generation.id, generation.user_id, generation.voice_id,
  (select voice.name from public.voices voice where voice.id = generation.voice_id and voice.user_id = :owner)
    as voice_name,
  generation.text, generation.audio_object_key, generation.duration_seconds, generation.language, generation.status,
  generation.generation_time_seconds, generation.error_message, generation.created_at, generation.completed_at,
  generation.tts_provider, generation.provider_model, generation.output_format, generation.provider_metadata,
  generation.audio_bytes, generation.audio_sha256, generation.characters_billed, generation.first_audio_seconds,
  generation.timings, generation.fault;

-- name: find_owner
select utter.generation_owner(:generation_id);

-- name: complete
select utter.complete_generation(
  :generation_id, :task_id, :object_key, :output_format, :audio_bytes, :audio_sha256, :duration_seconds,
  :generation_time_seconds, :characters_billed, :first_audio_seconds, :provider_metadata, :timings
);

-- name: fail
select utter.fail_generation(:generation_id, :task_id, :message, :fault, :free_key);

-- name: cancel
select utter.cancel_generation(:generation_id, :task_id, :message);

-- name: fail_stranded
select utter.fail_stranded(:older_than_seconds, :message);
