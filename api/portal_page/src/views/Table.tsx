import { useContext, useMemo, useState } from 'react'
import type { PortalMeter, UsageRow } from '../client'
import { PortalContext } from '../context'
import { formatDecimal } from '../exact'
import { partialWindows, windowLabel } from '../periods'
import { groupText, idOf, type MeterUsage } from '../usage'
import { AGGREGATIONS, own } from '../viewState'
import { Digits } from './Digits'

const ROWS = 31
const LONG = 16 // characters: a number longer than this may break into two lines on a narrow screen
const WINDOWS = { MINUTE: 'Minute', HOUR: 'Hour', DAY: 'Day', MONTH: 'Month' } as const

/** A table of usage with all rows and all digits of the answer. */
export function Table({ usage, meter, unit, caption }: TableProps) {
  const { locale } = useContext(PortalContext)
  const [newestFirst, setNewestFirst] = useState(true)
  const [shown, setShown] = useState(ROWS)
  const keys = Object.keys(usage.groups[0]?.keys ?? usage.rows[0]?.groupBy ?? {})
  const rows = useMemo(() => (newestFirst ? reversed(usage.rows) : usage.rows), [newestFirst, usage.rows])
  const parts = useMemo(() => partialWindows(usage, locale), [usage, locale])
  const heading = `${AGGREGATIONS[meter.aggregation].label}${unit && ` (${unit})`}`
  return (
    <div className="mp-table" role="region" aria-label={`Table: ${caption}`} tabIndex={0}>
      {usage.others !== null && (
        <p className="mp-quiet">{`The ${usage.groups.length} largest of ${formatDecimal(String(usage.groupCount), locale)} groups, and all others together.`}</p>
      )}
      <table>
        <caption className="mp-hidden">{caption}</caption>
        <thead>
          <tr>
            <th scope="col" aria-sort={newestFirst ? 'descending' : 'ascending'}>
              <button type="button" className="mp-sort" onClick={() => setNewestFirst(!newestFirst)}>
                <span>{`${WINDOWS[usage.windowSize]} `}</span>
                <span aria-hidden="true">{newestFirst ? '↓' : '↑'}</span>
              </button>
            </th>
            {keys.map((key) => (
              <th scope="col" key={key}>
                {key}
              </th>
            ))}
            <th scope="col" className="mp-number">
              {heading}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, shown).map((row) => (
            <tr key={`${row.windowStart} ${idOf(row.groupBy)}`}>
              <th scope="row">
                <time dateTime={row.windowStart} dir="auto">
                  {windowLabel(Date.parse(row.windowStart), usage.windowSize, usage.zone, locale)}
                </time>
                <Part text={parts.get(Date.parse(row.windowStart))} />
              </th>
              {row.isOthers ? (
                <td colSpan={keys.length} className="mp-quiet">
                  All others
                </td>
              ) : (
                keys.map((key) => (
                  <td key={key}>
                    <bdi>{groupText(own(row.groupBy, key) ?? '')}</bdi>
                  </td>
                ))
              )}
              <Value text={formatDecimal(row.value, locale)} />
            </tr>
          ))}
          {rows.length === 0 && (
            <tr>
              <td colSpan={2} className="mp-quiet">
                No usage in this period.
              </td>
            </tr>
          )}
        </tbody>
        {usage.total !== null && rows.length > 0 && (
          <tfoot>
            <tr>
              <th scope="row" colSpan={keys.length + 1}>
                {`${AGGREGATIONS[meter.aggregation].label} of the period${usage.open === null ? '' : ' so far'}`}
              </th>
              <Value text={formatDecimal(usage.total, locale)} />
            </tr>
          </tfoot>
        )}
      </table>
      {rows.length > shown && (
        <p className="mp-more">
          <button type="button" className="mp-button" onClick={() => setShown(shown + 10 * ROWS)}>
            Show more
          </button>
          <span className="mp-quiet">
            <Digits text={formatDecimal(String(shown), locale)} />
            <span> of </span>
            <Digits text={formatDecimal(String(rows.length), locale)} />
            <span> rows</span>
          </span>
        </p>
      )}
    </div>
  )
}

/** Return the rows in reverse order. The row of all other groups stays the last one of its window. */
function reversed(rows: readonly UsageRow[]): UsageRow[] {
  const result: UsageRow[] = []
  let others: UsageRow[] = []
  for (const row of [...rows].reverse()) {
    if (others.length > 0 && others[0].windowStart !== row.windowStart) result.push(...others.splice(0))
    if (row.isOthers) others = [row]
    else result.push(row)
  }
  return [...result, ...others]
}

function Value({ text }: { text: string }) {
  return (
    <td translate="no" className={text.length > LONG ? 'mp-number mp-long' : 'mp-number'}>
      {text}
    </td>
  )
}

/** The note for a window that is counted in part; nothing for a whole window. */
function Part({ text }: { text?: string }) {
  return (
    text && (
      <>
        {' '}
        <span className="mp-part">{`· ${text}`}</span>
      </>
    )
  )
}

interface TableProps {
  usage: MeterUsage
  meter: PortalMeter
  unit: string
  caption: string
}
