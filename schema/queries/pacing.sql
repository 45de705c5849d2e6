-- name: take_turn
select utter.take_turn(:lane, :per_second, :per_minute, :longest_wait);
