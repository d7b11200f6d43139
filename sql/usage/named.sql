-- What each subject of an answer is called, beside its rows; `key` is empty where it was never given a name or metadata.
-- Part of usage/usage; ${names} is subjects/names.
LEFT ANY JOIN (
${names}
) AS named ON subject = named.key
