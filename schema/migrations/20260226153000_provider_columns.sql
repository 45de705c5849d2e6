-- migrate:up

-- Two providers side by side (contract 3.6). Additive; every row there is becomes a Modal row.

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';
-- All at once, in the order requests take them: a request in the middle of its work and a migration that holds what it
-- needs next would wait for each other.
lock table public.voices, public.generations, public.tasks in access exclusive mode;

alter table public.voices
  add column if not exists tts_provider text not null default 'modal'
    constraint voices_tts_provider_check check (tts_provider in ('modal', 'qwen')),
  add column if not exists provider_voice_id text,
  add column if not exists provider_target_model text,
  add column if not exists provider_region text,
  add column if not exists provider_request_id text,
  add column if not exists provider_voice_kind text
    constraint voices_provider_voice_kind_check check (provider_voice_kind in ('vc', 'vd')),
  add column if not exists provider_metadata jsonb not null default '{}',
  add column if not exists deleted_at timestamptz;

alter table public.tasks
  add column if not exists provider text not null default 'modal'
    constraint tasks_provider_check check (provider in ('modal', 'qwen')),
  add column if not exists provider_job_id text,
  add column if not exists provider_status text,
  add column if not exists provider_poll_count integer not null default 0,
  add column if not exists cancellation_requested boolean not null default false;

alter table public.generations
  add column if not exists tts_provider text not null default 'modal'
    constraint generations_tts_provider_check check (tts_provider in ('modal', 'qwen')),
  add column if not exists provider_model text,
  add column if not exists output_format text,
  add column if not exists provider_metadata jsonb not null default '{}';

create index if not exists idx_voices_user_provider_created
  on public.voices (user_id, tts_provider, created_at desc);
create index if not exists idx_voices_user_active_provider_created
  on public.voices (user_id, tts_provider, created_at desc) where deleted_at is null;
create index if not exists idx_tasks_provider_job_id
  on public.tasks (provider_job_id) where provider_job_id is not null;
create index if not exists idx_generations_user_provider_created
  on public.generations (user_id, tts_provider, created_at desc);

-- migrate:down

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';
-- All at once, in the order requests take them: a request in the middle of its work and a migration that holds what it
-- needs next would wait for each other.
lock table public.voices, public.generations, public.tasks in access exclusive mode;

drop index if exists public.idx_generations_user_provider_created;
drop index if exists public.idx_tasks_provider_job_id;
drop index if exists public.idx_voices_user_active_provider_created;
drop index if exists public.idx_voices_user_provider_created;

-- v1 deletes voices for good and has no column that would keep a deleted one out of sight.
delete from public.voices where deleted_at is not null;

alter table public.generations
  drop column if exists provider_metadata,
  drop column if exists output_format,
  drop column if exists provider_model,
  drop column if exists tts_provider;

alter table public.tasks
  drop column if exists cancellation_requested,
  drop column if exists provider_poll_count,
  drop column if exists provider_status,
  drop column if exists provider_job_id,
  drop column if exists provider;

alter table public.voices
  drop column if exists deleted_at,
  drop column if exists provider_metadata,
  drop column if exists provider_voice_kind,
  drop column if exists provider_request_id,
  drop column if exists provider_region,
  drop column if exists provider_target_model,
  drop column if exists provider_voice_id,
  drop column if exists tts_provider;
