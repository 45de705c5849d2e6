-- migrate:up

-- What the provider's usage counted for a create (product section 6). It was written into the voice's metadata only by the
-- request that made the voice: a save that came later, and every design, did not know it.

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

alter table utter.voice_creates
  add column billed integer constraint voice_creates_billed_check check (billed >= 0);
comment on column utter.voice_creates.billed is
  'Creates that the provider counted in its answer; null when the voice was found by listing.';

-- Beside the one without the count, which the processes of the version before go on calling while they are replaced.
create function utter.record_created(
  p_id uuid, p_provider_voice_id text, p_target_model text, p_request_id text, p_warnings text[],
  p_preview_object_key text, p_preview_sha256 text, p_billed integer
) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  if not utter.record_created(
    p_id, p_provider_voice_id, p_target_model, p_request_id, p_warnings, p_preview_object_key, p_preview_sha256
  ) then
    return false;
  end if;
  update utter.voice_creates set billed = p_billed where id = p_id;
  return true;
end
$$;
comment on function utter.record_created(uuid, text, text, text, text[], text, text, integer) is
  'The provider made the voice of this create, and counted it.';

revoke execute on function utter.record_created(uuid, text, text, text, text[], text, text, integer) from public;
grant execute on function utter.record_created(uuid, text, text, text, text[], text, text, integer) to utter_gateway;

-- migrate:down

-- A lock that is not free soon makes every request queue up behind this one: better to fail, and to run it again.
set local lock_timeout = '5s';

drop function utter.record_created(uuid, text, text, text, text[], text, text, integer);
alter table utter.voice_creates drop column billed;
