/** The attributes of <meterport-usage>: their texts, and the values its properties take and give. */
import { readPair } from './view'

export type Value = string | number | readonly string[] | Readonly<Record<string, string>> | null | undefined

/** Each with how its text is read; `text`: as it is. */
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
  const list = parsed(text)
  return Array.isArray(list) ? list.map(String) : (text ?? '').split(/[\s,]+/).filter(Boolean)
}

/** Read `key:value key:value`, a list of those in JSON, or `{"key":"value"}`. */
export function readPairs(text: string | null, separator = /[\s,]+/): Record<string, string> {
  const given = parsed(text)
  if (given && !Array.isArray(given)) return Object.fromEntries(Object.entries(given).map(([key, value]) => [key, String(value)]))
  const parts = Array.isArray(given) ? given.map(String) : (text ?? '').split(separator)
  return Object.fromEntries(parts.filter((part) => part.includes(':')).map(readPair))
}

/** Write a property's value as its attribute's text; null: without. */
export function writeValue(value: Value): string | null {
  if (value === null || value === undefined) return null
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function parsed(text: string | null): object | undefined {
  if (!text || !/^\s*[[{]/.test(text)) return undefined
  try {
    return JSON.parse(text) as object
  } catch {
    return undefined
  }
}
