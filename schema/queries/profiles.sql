-- name: get
select id, handle, display_name, avatar_url, subscription_tier, credits_remaining, created_at, updated_at
from public.profiles
where id = :owner;

-- name: insert
-- The trigger on auth.users usually came first; two requests may race here.
insert into public.profiles (id) values (:owner)
on conflict (id) do nothing
returning id;

-- name: create_user
-- For the stand-in of auth only.
insert into auth.users (id) values (:user_id)
on conflict (id) do nothing
returning id;

-- name: update
-- Each field has a switch beside it: null is a value here, which clears the field.
update public.profiles
set handle = case when :set_handle then :handle else handle end,
  display_name = case when :set_display_name then :display_name else display_name end,
  avatar_url = case when :set_avatar_url then :avatar_url else avatar_url end
where id = :owner
returning id, handle, display_name, avatar_url, subscription_tier, credits_remaining, created_at, updated_at;
