/** How numbers and dates are written: in the reader's language, with the API's digits and calendar in every one. */

export const LATIN = { numberingSystem: 'latn' } as const
export const GREGORIAN = { ...LATIN, calendar: 'gregory' } as const
