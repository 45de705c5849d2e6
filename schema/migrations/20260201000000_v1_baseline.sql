-- migrate:up

-- The database of the v1 app (contract, section 3). Where a part exists it is adopted and left alone; what is made
-- here carries the comment 'created by the utter baseline', and only that is removed on the way down. On Supabase
-- auth.users and storage.objects belong to others, who let us add a trigger and policies but no comment: those are told
-- by what they stand on, our function and our tables.

-- On plain PostgreSQL: the parts of the Supabase platform that v1 stands on (contract 3.4, last paragraph).
do $$
declare
  mark constant text := 'created by the utter baseline';
  wanted text;
begin
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin %s', wanted, case wanted when 'service_role' then 'bypassrls' end);
      exception when duplicate_object or unique_violation then
        null;  -- another database of the cluster, migrated at this moment, made it
      end;
    end if;
  end loop;

  if to_regnamespace('extensions') is null then
    create schema extensions;
    execute format('comment on schema extensions is %L', mark);
    grant usage on schema extensions to anon, authenticated, service_role;
  end if;
  -- v1 wants pgcrypto only for gen_random_uuid(), which the server has had since version 13; small builds lack it.
  if exists (select from pg_catalog.pg_available_extensions where name = 'pgcrypto')
    and not exists (select from pg_catalog.pg_extension where extname = 'pgcrypto') then
    create extension pgcrypto schema extensions;
    execute format('comment on extension pgcrypto is %L', mark);
  end if;

  if to_regnamespace('auth') is null then
    create schema auth;
    execute format('comment on schema auth is %L', mark);
    grant usage on schema auth to anon, authenticated, service_role;
    grant usage on schema public to anon, authenticated, service_role;
    alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
    alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
    alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
  end if;
  if to_regclass('auth.users') is null then
    create table auth.users (
      id uuid primary key default gen_random_uuid(),
      email text,
      created_at timestamptz not null default now()
    );
    execute format('comment on table auth.users is %L', mark);
  end if;
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable as $body$
      select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
    $body$;
    execute format('comment on function auth.uid() is %L', mark);
  end if;
end
$$;

-- Storage: the stand-in where it is missing, then v1's buckets and policies unless v1 is here already (contract 3.5).
do $$
declare
  mark constant text := 'created by the utter baseline';
begin
  if to_regnamespace('storage') is null then
    create schema storage;
    execute format('comment on schema storage is %L', mark);
    grant usage on schema storage to anon, authenticated, service_role;
  end if;
  if to_regclass('storage.buckets') is null then
    create table storage.buckets (
      id text primary key,
      name text not null unique,
      public boolean not null default false,
      file_size_limit bigint,
      allowed_mime_types text[]
    );
    execute format('comment on table storage.buckets is %L', mark);
    alter table storage.buckets enable row level security;
    grant all on storage.buckets to anon, authenticated, service_role;
  end if;
  if to_regclass('storage.objects') is null then
    create table storage.objects (
      id uuid primary key default gen_random_uuid(),
      bucket_id text references storage.buckets (id),
      name text,
      owner uuid,
      metadata jsonb,
      created_at timestamptz not null default now(),
      unique (bucket_id, name)
    );
    execute format('comment on table storage.objects is %L', mark);
    alter table storage.objects enable row level security;
    grant all on storage.objects to anon, authenticated, service_role;
  end if;
  if to_regprocedure('storage.foldername(text)') is null then
    create function storage.foldername(name text) returns text[] language sql immutable as $body$
      select (string_to_array(name, '/'))[: cardinality(string_to_array(name, '/')) - 1]
    $body$;
    execute format('comment on function storage.foldername(text) is %L', mark);
  end if;

  if to_regclass('public.voices') is not null then
    return;
  end if;
  -- Bucket rows have no comment to mark them: the way down leaves them in an adopted storage, where files may be.
  insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
    ('references', 'references', false, 10485760,
      array['audio/wav', 'audio/x-wav', 'audio/mpeg', 'audio/mp4', 'audio/m4a']),
    ('generations', 'generations', false, null, null)
  on conflict do nothing;
  create policy references_select_own on storage.objects for select to authenticated
    using (bucket_id = 'references' and (storage.foldername(name))[1] = (select auth.uid())::text);
  create policy references_insert_own on storage.objects for insert to authenticated
    with check (bucket_id = 'references' and (storage.foldername(name))[1] = (select auth.uid())::text);
  create policy generations_select_own on storage.objects for select to authenticated
    using (bucket_id = 'generations' and (storage.foldername(name))[1] = (select auth.uid())::text);
  begin
    execute format('comment on policy references_select_own on storage.objects is %L', mark);
    execute format('comment on policy references_insert_own on storage.objects is %L', mark);
    execute format('comment on policy generations_select_own on storage.objects is %L', mark);
  exception when insufficient_privilege then
    null;  -- the table is the platform's
  end;
end
$$;

-- Tables, each with its indexes, policies and grants (contract 3.1, 3.2, 3.4).
do $$
declare
  mark constant text := 'created by the utter baseline';
begin
  if to_regclass('public.profiles') is null then
    create table public.profiles (
      id uuid primary key references auth.users (id) on delete cascade,
      handle text unique,
      display_name text,
      avatar_url text,
      subscription_tier text not null default 'free',
      credits_remaining integer not null default 100,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
    execute format('comment on table public.profiles is %L', mark);
    alter table public.profiles enable row level security;
    create policy profiles_select_own on public.profiles for select to authenticated
      using ((select auth.uid()) = id);
    create policy profiles_update_own on public.profiles for update to authenticated
      using ((select auth.uid()) = id) with check ((select auth.uid()) = id);
    grant all on public.profiles to anon, authenticated, service_role;
    revoke insert, update, delete on public.profiles from anon;
  end if;

  if to_regclass('public.voices') is null then
    create table public.voices (
      id uuid primary key default gen_random_uuid(),
      user_id uuid not null references auth.users (id) on delete cascade,
      name text not null check (char_length(name) between 1 and 100),
      reference_object_key text,
      reference_transcript text,
      language text not null default 'Auto',
      source text not null check (source in ('uploaded', 'designed')),
      description text,
      created_at timestamptz not null default now()
    );
    execute format('comment on table public.voices is %L', mark);
    create index idx_voices_user_id_created on public.voices (user_id, created_at desc);
    alter table public.voices enable row level security;
    create policy voices_select_own on public.voices for select to authenticated
      using ((select auth.uid()) = user_id);
    create policy voices_insert_own on public.voices for insert to authenticated
      with check ((select auth.uid()) = user_id);
    create policy voices_delete_own on public.voices for delete to authenticated
      using ((select auth.uid()) = user_id);
    grant all on public.voices to anon, authenticated, service_role;
    revoke update on public.voices from authenticated;
    revoke insert, update, delete on public.voices from anon;
  end if;

  if to_regclass('public.generations') is null then
    create table public.generations (
      id uuid primary key default gen_random_uuid(),
      user_id uuid not null references auth.users (id) on delete cascade,
      voice_id uuid references public.voices (id) on delete set null,
      text text not null,
      audio_object_key text,
      duration_seconds double precision,
      language text not null default 'Auto',
      status text not null default 'pending'
        check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
      generation_time_seconds double precision,
      error_message text,
      created_at timestamptz not null default now(),
      completed_at timestamptz
    );
    execute format('comment on table public.generations is %L', mark);
    create index idx_generations_user_id_created on public.generations (user_id, created_at desc);
    create index idx_generations_voice_id on public.generations (voice_id);
    alter table public.generations enable row level security;
    create policy generations_select_own on public.generations for select to authenticated
      using ((select auth.uid()) = user_id);
    create policy generations_delete_own on public.generations for delete to authenticated
      using ((select auth.uid()) = user_id);
    grant all on public.generations to anon, authenticated, service_role;
    revoke insert, update on public.generations from authenticated;
    revoke insert, update, delete on public.generations from anon;
  end if;

  if to_regclass('public.tasks') is null then
    create table public.tasks (
      id uuid primary key default gen_random_uuid(),
      user_id uuid not null references auth.users (id) on delete cascade,
      type text not null check (type in ('generate', 'design_preview', 'clone')),
      status text not null default 'pending'
        check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
      modal_job_id text,
      error text,
      generation_id uuid references public.generations (id) on delete set null,
      voice_id uuid references public.voices (id) on delete set null,
      modal_poll_count integer not null default 0,
      metadata jsonb not null default '{}',
      result jsonb,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(),
      completed_at timestamptz
    );
    execute format('comment on table public.tasks is %L', mark);
    create index idx_tasks_user_id on public.tasks (user_id);
    create index idx_tasks_generation_id on public.tasks (generation_id);
    create index idx_tasks_voice_id on public.tasks (voice_id);
    create index idx_tasks_modal_job_id on public.tasks (modal_job_id) where modal_job_id is not null;
    create index idx_tasks_active on public.tasks (created_at) where status in ('pending', 'processing');
    alter table public.tasks enable row level security;
    create policy tasks_select_own on public.tasks for select to authenticated
      using ((select auth.uid()) = user_id);
    grant all on public.tasks to anon, authenticated, service_role;
    revoke insert, update, delete on public.tasks from authenticated;
    revoke insert, update, delete on public.tasks from anon;
  end if;

  -- The guard of one active generate task per user. An early v1 database may lack it and hold duplicates, of which
  -- the newest stays.
  if to_regclass('public.idx_tasks_generate_one_active_per_user') is null then
    with duplicates as (
      select id, generation_id,
        row_number() over (partition by user_id order by created_at desc, id desc) as place
      from public.tasks
      where type = 'generate' and status in ('pending', 'processing')
    ), failed as (
      update public.tasks task
      set status = 'failed', error = 'A newer generation replaced this one.', completed_at = now()
      from duplicates
      where task.id = duplicates.id and duplicates.place > 1
      returning task.generation_id
    )
    update public.generations generation
    set status = 'failed', error_message = 'A newer generation replaced this one.', completed_at = now()
    from failed
    where generation.id = failed.generation_id and generation.status in ('pending', 'processing');

    create unique index idx_tasks_generate_one_active_per_user on public.tasks (user_id)
      where type = 'generate' and status in ('pending', 'processing');
    execute format('comment on index public.idx_tasks_generate_one_active_per_user is %L', mark);
  end if;
end
$$;

-- Functions and triggers (contract 3.3).
do $$
declare
  mark constant text := 'created by the utter baseline';
  subject text;
begin
  if to_regprocedure('public.handle_updated_at()') is null then
    create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $body$
      begin
        new.updated_at := now();
        return new;
      end
    $body$;
    execute format('comment on function public.handle_updated_at() is %L', mark);
  end if;
  foreach subject in array array['profiles', 'tasks'] loop
    if not exists (
      select from pg_catalog.pg_trigger
      where tgname = 'set_updated_at' and tgrelid = format('public.%I', subject)::regclass
    ) then
      execute format(
        'create trigger set_updated_at before update on public.%I
         for each row execute function public.handle_updated_at()', subject);
      execute format('comment on trigger set_updated_at on public.%I is %L', subject, mark);
    end if;
  end loop;

  if to_regprocedure('public.handle_new_user()') is null then
    create function public.handle_new_user() returns trigger
    language plpgsql security definer set search_path = '' as $body$
      begin
        insert into public.profiles (id) values (new.id) on conflict do nothing;
        return new;
      end
    $body$;
    execute format('comment on function public.handle_new_user() is %L', mark);
  end if;
  if not exists (
    select from pg_catalog.pg_trigger
    where tgname = 'on_auth_user_created' and tgrelid = 'auth.users'::regclass
  ) then
    create trigger on_auth_user_created after insert on auth.users
      for each row execute function public.handle_new_user();
    begin
      execute format('comment on trigger on_auth_user_created on auth.users is %L', mark);
    exception when insufficient_privilege then
      null;  -- the table is the platform's
    end;
  end if;

  if to_regprocedure('public.increment_task_modal_poll_count(uuid, uuid)') is null then
    create function public.increment_task_modal_poll_count(p_task_id uuid, p_user_id uuid) returns integer
    language sql security definer set search_path = '' as $body$
      update public.tasks
      set modal_poll_count = modal_poll_count + 1
      where id = p_task_id and user_id = p_user_id
      returning modal_poll_count
    $body$;
    execute format('comment on function public.increment_task_modal_poll_count(uuid, uuid) is %L', mark);
    revoke execute on function public.increment_task_modal_poll_count(uuid, uuid) from public;
    grant execute on function public.increment_task_modal_poll_count(uuid, uuid) to service_role;
  end if;
end
$$;

-- migrate:down

do $$
declare
  mark constant text := 'created by the utter baseline';
  doomed text;
begin
  if exists (select from auth.users) then
    raise exception 'refusing to remove the v1 baseline while auth.users holds users'
      using hint = 'This would delete their voices and generations. Restore a backup instead.';
  end if;

  for doomed in
    select format('drop trigger %I on %s', tgname, tgrelid::regclass)
    from pg_catalog.pg_trigger where obj_description(oid, 'pg_trigger') = mark
    union all
    select format('drop policy %I on %s', polname, polrelid::regclass)
    from pg_catalog.pg_policy
    where obj_description(oid, 'pg_policy') = mark
      or obj_description(to_regclass('public.voices'), 'pg_class') = mark
        and polrelid = to_regclass('storage.objects')
        and polname in ('references_select_own', 'references_insert_own', 'generations_select_own')
  loop
    execute doomed;
  end loop;

  if obj_description(to_regclass('public.idx_tasks_generate_one_active_per_user'), 'pg_class') = mark then
    drop index public.idx_tasks_generate_one_active_per_user;
  end if;
  foreach doomed in array array[
    'public.tasks', 'public.generations', 'public.voices', 'public.profiles',
    'storage.objects', 'storage.buckets'
  ] loop
    if obj_description(to_regclass(doomed), 'pg_class') = mark then
      execute format('drop table %s', doomed);
    end if;
  end loop;
  foreach doomed in array array[
    'public.increment_task_modal_poll_count(uuid, uuid)', 'public.handle_new_user()', 'public.handle_updated_at()',
    'storage.foldername(text)', 'auth.uid()'
  ] loop
    if obj_description(to_regprocedure(doomed), 'pg_proc') = mark then
      -- Cascade: its trigger on a table of the platform's, which only the owner of that table may drop by name.
      execute format('drop function %s %s', doomed, case doomed when 'public.handle_new_user()' then 'cascade' end);
    end if;
  end loop;
  if obj_description(to_regclass('auth.users'), 'pg_class') = mark then
    drop table auth.users;
  end if;
  if (select obj_description(oid, 'pg_extension') from pg_catalog.pg_extension where extname = 'pgcrypto') = mark then
    drop extension pgcrypto;
  end if;

  if obj_description(to_regnamespace('auth'), 'pg_namespace') = mark then
    alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
    alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
    alter default privileges in schema public revoke all on functions from anon, authenticated, service_role;
    revoke usage on schema public from anon, authenticated, service_role;
  end if;
  foreach doomed in array array['storage', 'auth', 'extensions'] loop
    if obj_description(to_regnamespace(doomed), 'pg_namespace') = mark then
      execute format('drop schema %I', doomed);
    end if;
  end loop;
end
$$;
