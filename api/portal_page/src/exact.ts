/**
 * Exact decimals: usage stays text from the answer to the screen, and becomes a double only where a chart draws it.
 *
 * JSON.parse reads numbers as doubles, which hold 15 to 17 digits. Usage has up to 38 digits before the point and 19
 * after it.
 */
import { LATIN } from './locale'

const CARD_LENGTH = 12 // characters of a number on a meter's card
/** The longest number, in characters, in a line with other texts: in the legend and beside the pointer. */
export const LINE_LENGTH = 26
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** Parse JSON, with each number as the text that it was written as. Throws SyntaxError. */
export function parseExact(text: string): unknown {
  return JSON.parse(text.replace(STRING_OR_NUMBER, (token) => (token.startsWith('"') ? token : `"${token}"`)))
}

/** Write a plain decimal ("-1234.50") with the separators of a locale and with all its digits. */
export function formatDecimal(text: string, locale?: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text)
  if (!match) return text
  const [, sign, whole, fraction] = match
  const digits = new Intl.NumberFormat(locale, { ...LATIN, maximumFractionDigits: 0 }).format(BigInt(whole))
  return `${sign ? '−' : ''}${digits}${fraction ? decimalPoint(locale) + fraction : ''}`
}

/**
 * Write a decimal where room is short: a fraction longer than six digits is cut to four digits, followed by "…". The
 * leading zeros of a number below 1 do not count.
 */
export function formatBrief(text: string, locale?: string): string {
  const [whole, fraction = ''] = text.split('.')
  const zeros = /^-?0$/.test(whole) ? /^0*/.exec(fraction)?.[0].length ?? 0 : 0
  const cut = fraction.slice(0, zeros + 4)
  return fraction.length > 6 && cut !== fraction ? `${formatDecimal(`${whole}.${cut}`, locale)}…` : formatDecimal(text, locale)
}

/**
 * Write a decimal in at most `length` characters (by default those of a card). A longer one is rounded to four digits.
 */
export function formatFitting(text: string, locale?: string, length = CARD_LENGTH): string {
  const brief = formatBrief(text, locale)
  return brief.length > length ? formatShort(Number(text), locale) : brief
}

/** Write a double in a short form, as on the axis of a chart: 1.2K, 3M, 6.7 × 10¹⁹, 2.5 × 10⁻¹⁴. */
export function formatShort(value: number, locale?: string): string {
  const size = Math.abs(value)
  const notation = size === 0 || (size >= 1e-5 && size < 1e15) ? 'compact' : 'scientific'
  const parts = new Intl.NumberFormat(locale, { ...LATIN, notation, maximumSignificantDigits: 4 }).formatToParts(value)
  return parts.map(({ type, value: text }) => PART_WRITERS[type]?.(text) ?? text).join('')
}

const PART_WRITERS: Partial<Record<Intl.NumberFormatPartTypes, (text: string) => string>> = {
  minusSign: () => '−',
  exponentSeparator: () => ' × 10',
  exponentMinusSign: () => '⁻',
  exponentInteger: (digits) => digits.replace(/\d/g, (digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]),
}

function decimalPoint(locale?: string): string {
  const parts = new Intl.NumberFormat(locale, LATIN).formatToParts(1.5)
  return parts.find((part) => part.type === 'decimal')?.value ?? '.'
}

/** Add plain decimals exactly. */
export function addDecimals(one: string, other: string): string {
  const places = Math.max(fractionOf(one).length, fractionOf(other).length)
  const sum = scaled(one, places) + scaled(other, places)
  const digits = (sum < 0n ? -sum : sum).toString().padStart(places + 1, '0')
  const fraction = digits.slice(digits.length - places).replace(/0+$/, '')
  return `${sum < 0n ? '-' : ''}${digits.slice(0, digits.length - places)}${places > 0 && fraction ? `.${fraction}` : ''}`
}

function fractionOf(text: string): string {
  return text.split('.')[1] ?? ''
}

function scaled(text: string, places: number): bigint {
  return BigInt(text.replace('.', '') + '0'.repeat(places - fractionOf(text).length))
}
