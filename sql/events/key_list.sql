-- Keys of events, given as 32 hex digits each. Part of events/last_stored and events/places_of_keys.
SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16)
