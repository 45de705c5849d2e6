-- name: claim
select (claim.entry).id, (claim.entry).user_id, (claim.entry).kind, (claim.entry).region, (claim.entry).target_model,
  (claim.entry).state, (claim.entry).claimed_until, (claim.entry).attempts, (claim.entry).request,
  (claim.entry).provider_voice_id, (claim.entry).request_id, (claim.entry).warnings, (claim.entry).preview_object_key,
  (claim.entry).preview_sha256, (claim.entry).billed, (claim.entry).voice_id, (claim.entry).error,
  (claim.entry).created_at, (claim.entry).updated_at, claim.granted, claim.recover
from utter.claim_create(:id, :user_id, :kind, :region, :target_model, :request, :seconds) claim;

-- name: record_created
select utter.record_created(
  :id, :provider_voice_id, :target_model, :request_id, :warnings, :preview_object_key, :preview_sha256, :billed
);

-- name: record_failed
select utter.record_failed(:id, :state, :error, :attempt);

-- name: get
select id, user_id, kind, region, target_model, state, claimed_until, attempts, request, provider_voice_id, request_id,
  warnings, preview_object_key, preview_sha256, billed, voice_id, error, created_at, updated_at
from utter.voice_creates
where id = :create_id and user_id = :owner;

-- name: find_preview
-- Of two that sound the same it is the newest: the one the caller has just heard.
select id, user_id, kind, region, target_model, state, claimed_until, attempts, request, provider_voice_id, request_id,
  warnings, preview_object_key, preview_sha256, billed, voice_id, error, created_at, updated_at
from utter.voice_creates
where user_id = :owner and preview_sha256 = :sha256 and kind = 'vd' and state = 'created'
order by created_at desc, id desc
limit 1;

-- name: link_voice
-- Of two at once the second waits for the first to end, and then finds the column filled.
update utter.voice_creates
set voice_id = :voice_id
where id = :create_id and user_id = :owner and state = 'created' and voice_id is null
returning id;

-- name: take_stale_designs
select id, user_id, kind, region, target_model, state, claimed_until, attempts, request, provider_voice_id, request_id,
  warnings, preview_object_key, preview_sha256, billed, voice_id, error, created_at, updated_at
from utter.take_stale_designs(:seconds, :limit);

-- name: list_orphans
select id, user_id, kind, region, target_model, provider_voice_id, request_id, reason, created_at
from utter.orphans(:unsaved_seconds);
