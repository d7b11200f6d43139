/**
 * How numbers and dates are written: in the reader's language, but always with Latin digits and the Gregorian calendar,
 * as in the API.
 */

export const LATIN = { numberingSystem: 'latn' } as const
export const GREGORIAN = { ...LATIN, calendar: 'gregory' } as const

/**
 * Return a locale as browsers write it ("de_CH" is de-CH), or undefined (the browser's own) for a text that is not a
 * locale.
 */
export function knownLocale(text: string | undefined): string | undefined {
  try {
    return text ? Intl.getCanonicalLocales(text.replaceAll('_', '-'))[0] : undefined
  } catch {
    return undefined
  }
}
