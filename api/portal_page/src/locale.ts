/** How numbers and dates are written: in the reader's language, with the API's digits and calendar in every one. */

export const LATIN = { numberingSystem: 'latn' } as const
export const GREGORIAN = { ...LATIN, calendar: 'gregory' } as const

/** Return a locale as browsers know it ("de_CH" is de-CH); what is none is undefined: the browser's own. */
export function knownLocale(text: string | undefined): string | undefined {
  try {
    return text ? Intl.getCanonicalLocales(text.replaceAll('_', '-'))[0] : undefined
  } catch {
    return undefined
  }
}
