-- The display name of each subject of an answer, joined to its rows; `key` is empty for a subject that is not in the
-- registry. Part of usage/lines; ${names} is subjects/names.
LEFT ANY JOIN (
${names}
) AS named ON subject = named.key
