/**
 * The CSV file for people: the CSV of the API, made safe for a spreadsheet.
 *
 * Owns: how the file for people differs from the API's CSV, which is for programs and stays exact. A spreadsheet runs a
 * cell that begins like a formula, and the senders of events choose the group values. A spreadsheet also reads a file
 * without a byte order mark in the code page of the computer, not as UTF-8.
 * Source: docs/portal.md "What it shows"; OWASP, "CSV Injection"; RFC 4180.
 */
import { UsageError } from './client'

const BYTE_ORDER_MARK = '\ufeff'
// A formula begins with one of these characters. Spreadsheets skip spaces and invisible characters before it, and also
// accept the full-width forms of East Asian keyboards. A tab or a line end at the start moves the text to another cell.
const FORMULA = /^(?:[\s\p{Cc}\p{Cf}]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n\0])/u
const NUMBER = /^-?\d+(?:\.\d+)?$/
const CELL = /(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r\n|\n|\r|$)/y

/**
 * Return the file for people, made from a CSV answer of the API.
 *
 * Only the last column holds numbers, and they stay unchanged. Throws UsageError if the answer is not CSV.
 */
export function csvForPeople(csv: string): string {
  return BYTE_ORDER_MARK + readRows(csv).map((row) => `${row.map(writeCell).join(',')}\n`).join('')
}

/** Return the rows of a CSV text (RFC 4180). Throws UsageError. */
function readRows(csv: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  for (let index = 0; index < csv.length || row.length > 0; index = CELL.lastIndex) {
    CELL.lastIndex = index
    const [, quoted, plain, end] = CELL.exec(csv) ?? []
    if (end === undefined) throw new UsageError('unavailable', `the answer is not CSV at character ${index}`)
    row.push(quoted?.replaceAll('""', '"') ?? plain)
    if (end === ',') continue
    rows.push(row)
    row = []
  }
  return rows
}

function writeCell(text: string, column: number, row: readonly string[]): string {
  const isNumber = column === row.length - 1 && NUMBER.test(text)
  const isDisarmed = !isNumber && FORMULA.test(text)
  const written = isDisarmed ? `'${text}` : text
  // A disarmed cell is always quoted, so that programs that split at semicolons or tabs keep it whole.
  return isDisarmed || /[",\r\n]|^\s/.test(text) ? `"${written.replaceAll('"', '""')}"` : written
}
