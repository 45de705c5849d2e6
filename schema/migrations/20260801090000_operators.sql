-- migrate:up

-- What the commands of operators read and do (product sections 8 and 16): which migrations are applied, what each user
-- has used, which voices another provider could not use, and the end of deleted voices.

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

-- plpgsql, because dbmate's list need not be there when this is made: other tools than dbmate apply these files, too.
create function utter.applied_migrations() returns setof text
language plpgsql stable security definer set search_path = '' as $$
begin
  return query select version::text from utter.schema_migrations order by version;
end
$$;
comment on function utter.applied_migrations() is 'The numbers of the migrations that this database has, oldest first.';

-- A user may delete their history, and be deleted: what was spoken for them was paid for all the same.
create table utter.usage_days (
  user_id uuid not null,
  day date not null,
  generations bigint not null,
  characters bigint not null,
  primary key (user_id, day)
);
comment on table utter.usage_days is 'What was spoken for each user, by the day (UTC) on which it was completed.';
comment on column utter.usage_days.characters is 'As the provider counts them; Modal counts none.';
create index idx_usage_days_day on utter.usage_days (day);
alter table utter.usage_days enable row level security;

create function utter.count_usage() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into utter.usage_days as used (user_id, day, generations, characters)
  values (new.user_id, (now() at time zone 'UTC')::date, 1, coalesce(new.characters_billed, 0))
  on conflict (user_id, day) do update
  set generations = used.generations + excluded.generations, characters = used.characters + excluded.characters;
  return null;
end
$$;
comment on function utter.count_usage() is 'Adds a generation that was completed to its user''s day.';

-- Whoever completes it: this gateway, or v1's code. From here to the end of the transaction nobody else can.
create trigger utter_count_usage after update on public.generations
  for each row
  when (new.status = 'completed' and old.status <> 'completed')
  execute function utter.count_usage();

insert into utter.usage_days (user_id, day, generations, characters)
select user_id, (coalesce(completed_at, created_at) at time zone 'UTC')::date, count(*),
  coalesce(sum(characters_billed), 0)
from public.generations
where status = 'completed'
group by 1, 2;

create function utter.usage(p_from date, p_until date, p_user_id uuid)
returns table (
  user_id uuid, day date, generations bigint, characters bigint, clones bigint, designs bigint, unknown_creates bigint
)
language sql stable security definer set search_path = '' as $$
  with made as (
    select entry.user_id, (entry.created_at at time zone 'UTC')::date as day,
      -- One that was found by listing was never counted to us, and billed all the same.
      coalesce(sum(coalesce(entry.billed, 1)) filter (where entry.kind = 'vc' and entry.state = 'created'), 0) as clones,
      coalesce(sum(coalesce(entry.billed, 1)) filter (where entry.kind = 'vd' and entry.state = 'created'), 0) as designs,
      count(*) filter (
        where entry.state = 'ambiguous' or (entry.state = 'claimed' and entry.claimed_until <= now())
      ) as unknown_creates
    from utter.voice_creates entry
    group by 1, 2
  )
  select user_id, day, coalesce(spoken.generations, 0), coalesce(spoken.characters, 0), coalesce(made.clones, 0),
    coalesce(made.designs, 0), coalesce(made.unknown_creates, 0)
  from utter.usage_days spoken
  full join made using (user_id, day)
  where day >= p_from and day < p_until
    and (p_user_id is null or user_id = p_user_id)
    and coalesce(spoken.generations, 0) + coalesce(made.clones, 0) + coalesce(made.designs, 0)
      + coalesce(made.unknown_creates, 0) > 0
  order by day, user_id
$$;
comment on function utter.usage(date, date, uuid) is
  'Per user and day: characters and creates that the provider bills, and creates of which nobody knows.';

create function utter.all_voices(p_user_id uuid, p_after uuid, p_limit integer)
returns table (
  id uuid, user_id uuid, language text, tts_provider text, provider_voice_id text, provider_target_model text,
  provider_region text, provider_voice_kind text, has_recording boolean, has_transcript boolean, deleted boolean
)
language sql stable security definer set search_path = '' as $$
  select voice.id, voice.user_id, voice.language, voice.tts_provider, voice.provider_voice_id,
    voice.provider_target_model, voice.provider_region, voice.provider_voice_kind,
    voice.reference_object_key is not null, coalesce(voice.reference_transcript, '') <> '',
    voice.deleted_at is not null
  from public.voices voice
  where (p_user_id is null or voice.user_id = p_user_id) and (p_after is null or voice.id > p_after)
  order by voice.id
  limit p_limit
$$;
comment on function utter.all_voices(uuid, uuid, integer) is
  'Everybody''s voices, or one user''s, deleted ones too, by id: who made them, and what they could be made of again.';

-- A voice that somebody speaks with at this moment is left for the next time.
create function utter.purgeable_voices(p_seconds double precision, p_after uuid, p_limit integer)
returns table (id uuid, user_id uuid, recording_key text, tts_provider text, deleted_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select voice.id, voice.user_id, voice.reference_object_key, voice.tts_provider, voice.deleted_at
  from public.voices voice
  where voice.deleted_at < now() - make_interval(secs => p_seconds)
    and (p_after is null or voice.id > p_after)
    and not exists (
      select from public.tasks task where task.voice_id = voice.id and task.status in ('pending', 'processing')
    )
  order by voice.id
  limit p_limit
$$;
comment on function utter.purgeable_voices(double precision, uuid, integer) is
  'Voices that were deleted longer ago than p_seconds, by id.';

create function utter.purge_voice(p_voice_id uuid, p_seconds double precision) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- Whoever restores it at this moment waits for this transaction, and then finds nothing to restore.
  delete from public.voices where id = p_voice_id and deleted_at < now() - make_interval(secs => p_seconds);
  return found;
end
$$;
comment on function utter.purge_voice(uuid, double precision) is
  'End a voice that was deleted longer ago than p_seconds; what was spoken with it stays.';

revoke execute on function
  utter.applied_migrations(),
  utter.count_usage(),
  utter.usage(date, date, uuid),
  utter.all_voices(uuid, uuid, integer),
  utter.purgeable_voices(double precision, uuid, integer),
  utter.purge_voice(uuid, double precision)
from public;
grant execute on function
  utter.applied_migrations(),
  utter.usage(date, date, uuid),
  utter.all_voices(uuid, uuid, integer),
  utter.purgeable_voices(double precision, uuid, integer),
  utter.purge_voice(uuid, double precision)
to utter_gateway;

-- migrate:down

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

drop function utter.purge_voice(uuid, double precision);
drop function utter.purgeable_voices(double precision, uuid, integer);
drop function utter.all_voices(uuid, uuid, integer);
drop function utter.usage(date, date, uuid);
drop trigger utter_count_usage on public.generations;
drop function utter.count_usage();
-- Known nowhere else, as far as their generations were deleted: `utter usage` before this.
drop table utter.usage_days;
drop function utter.applied_migrations();
