/** The attributes of <meterport-usage>: how their texts are read, and how the values of its properties are written. */
import { readPair } from './viewState'

export type Value = string | number | readonly string[] | Readonly<Record<string, string>> | null | undefined

/** Each attribute, with the way its text is read. `text`: unchanged. */
export const ATTRIBUTES = {
  token: 'text', 'base-url': 'text', meters: 'list', meter: 'text', period: 'text', window: 'text', 'time-zone': 'text',
  'group-by': 'list', filters: 'pairs', units: 'units', show: 'list', theme: 'text', locale: 'text', refresh: 'text',
  heading: 'text',
} as const

export type Attribute = keyof typeof ATTRIBUTES

/** Return the name of an attribute's property: `timeZone`. */
export function propertyOf(attribute: string): string {
  return attribute.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
}

/** Read `a b`, `a,b` or `["a","b"]`. */
export function readList(text: string | null): string[] {
  const list = parseJson(text)
  return Array.isArray(list) ? list.map(String) : (text ?? '').split(/[\s,]+/).filter(Boolean)
}

/** Read `key:value key:value`, a JSON list of such pairs, or `{"key":"value"}`. */
export function readPairs(text: string | null, separator = /[\s,]+/): Record<string, string> {
  const json = parseJson(text)
  if (json && !Array.isArray(json)) return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, String(value)]))
  const parts = Array.isArray(json) ? json.map(String) : (text ?? '').split(separator)
  return Object.fromEntries(parts.filter((part) => part.includes(':')).map(readPair))
}

/** Write a property's value as the text of its attribute. Null: no attribute. */
export function writeValue(value: Value): string | null {
  if (value === null || value === undefined) return null
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** Return the JSON object or list of a text, or undefined if it is neither. */
function parseJson(text: string | null): object | undefined {
  if (!text || !/^\s*[[{]/.test(text)) return undefined
  try {
    return JSON.parse(text) as object
  } catch {
    return undefined
  }
}
