-- Keys of events, which come as texts of many keys each (32 hex digits a key): a list of as many texts as keys takes
-- longer to read than the index. Part of events/last_stored and events/places_of_keys.
SELECT toFixedString(unhex(substring(text, 32 * at + 1, 32)), 16)
FROM (SELECT arrayJoin({keys:Array(String)}) AS text)
ARRAY JOIN range(toUInt32(length(text) / 32)) AS at
