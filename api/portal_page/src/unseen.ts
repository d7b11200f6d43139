/**
 * Different names look different: a character that is invisible, or that reverses the writing direction, is shown as
 * its code.
 *
 * Owns: the rule of engine/texts.py (`printable_name`), for the page. Joiners stay between letters that are not ASCII
 * (they belong to words and emoji), and variation selectors stay after symbols.
 * Source: Unicode, Default_Ignorable_Code_Point; docs/contract.md D.40.
 */

const JOINER = '\u200c\u200d'
const VARIATION = '\ufe0e\ufe0f'
const INVISIBLE = new RegExp(
  [
    `(?![${JOINER}])[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}]`,
    `(?<![^\\0-\\x7f])[${JOINER}]`,
    `[${JOINER}](?![^\\0-\\x7f])`,
    `(?<![\\p{So}\\p{Po}\\p{Sm}])[${VARIATION}](?!\\u20e3)`,
    '[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180d\\u180f\\u2065\\u2800\\u3164\\ufe00-\\ufe0d\\uffa0\\ufff0-\\ufff8]',
    '[\\u{e0000}-\\u{e0fff}]',
    '^\\s+|\\s+$|(?! )\\p{Zs}',
  ].join('|'),
  'gu',
)

/** Return a name with its invisible characters escaped, as the command line shows it: `acme\x20`, `ac\u200bme`. */
export function printableName(name: string): string {
  return name.replace(INVISIBLE, (invisible) => Array.from(invisible, escaped).join(''))
}

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0
  const hex = code.toString(16)
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`
}
