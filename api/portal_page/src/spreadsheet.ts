/**
 * The CSV file that people open: what the API answers, made safe for a spreadsheet.
 *
 * Owns: how the file for people differs from the API's CSV, which is for programs and stays exact. A spreadsheet runs a
 * cell that begins like a formula, and group values come from whoever sends events; and it takes a file without a mark
 * for one in the code page of the computer.
 * Source: docs/portal.md "What it shows"; OWASP, "CSV Injection"; RFC 4180.
 */
import { UsageError } from './client'

const BYTE_ORDER_MARK = '\ufeff'
// A formula begins with one of these; spreadsheets pass over spaces and invisible characters before it, and read the
// full-width forms of East Asian keyboards like the plain ones. A tab or a line end at the start moves the cell's text.
const FORMULA = /^(?:[\s\p{Cc}\p{Cf}]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n\0])/u
const NUMBER = /^-?\d+(?:\.\d+)?$/
const CELL = /(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r\n|\n|\r|$)/y

/**
 * Return the file for people of a CSV that the API answered.
 *
 * Only the last column holds numbers, and they stay as they are. Throws UsageError if the answer is no CSV.
 */
export function csvForPeople(csv: string): string {
  return BYTE_ORDER_MARK + readRows(csv).map((row) => `${row.map(writeCell).join(',')}\n`).join('')
}

/** Read RFC 4180. */
function readRows(csv: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  for (let at = 0; at < csv.length || row.length > 0; at = CELL.lastIndex) {
    CELL.lastIndex = at
    const [, quoted, plain, end] = CELL.exec(csv) ?? []
    if (end === undefined) throw new UsageError('unavailable', `the answer is no CSV at character ${at}`)
    row.push(quoted?.replaceAll('""', '"') ?? plain)
    if (end === ',') continue
    rows.push(row)
    row = []
  }
  return rows
}

function writeCell(text: string, column: number, row: readonly string[]): string {
  const isNumber = column === row.length - 1 && NUMBER.test(text)
  const disarmed = !isNumber && FORMULA.test(text)
  const written = disarmed ? `'${text}` : text
  // A cell that was disarmed is quoted, whatever it holds: programs that split at semicolons or tabs keep it whole.
  return disarmed || /[",\r\n]|^\s/.test(text) ? `"${written.replaceAll('"', '""')}"` : written
}
