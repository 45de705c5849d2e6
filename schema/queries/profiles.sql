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
