-- name: limit_silence
-- The server itself ends a transaction whose client says nothing for 10 s, locks and all: a machine that lost its power
-- or its network between two statements sends no FIN, and the rows it had locked, its leases above all, would stay
-- locked until TCP gives up, hours later. Ours never wait between two statements, and are given up by their own client
-- sooner (COMMAND_SECONDS, FINISH_SECONDS). Local to the transaction, because a transaction pooler keeps no session.
select set_config('idle_in_transaction_session_timeout', '10s', true);

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
