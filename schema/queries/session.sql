-- name: ping
-- One round trip.
select 1;

-- name: become_user
-- From here to the end of the transaction: the role utter_api, for the user in the claims; false when there is no
-- such user any more. One statement, because it costs every request a round trip.
select utter.user_exists(:user_id) and concat(
  set_config('request.jwt.claims', :claims, true),
  set_config('role', 'utter_api', true)
) is not null;
