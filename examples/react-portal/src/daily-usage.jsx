import { useEffect, useState } from 'react'
import { useOpenMeterClient } from './query-portal-meter.js'

const DAYS = 30
const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeZone: 'UTC' })
const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3 })

/** Show a month of a meter, day by day, as a chart and a table; query it again every ten seconds. */
export function DailyUsage({ meter, onExpired }) {
  const client = useOpenMeterClient()
  const [rows, setRows] = useState()
  const [problem, setProblem] = useState('')

  useEffect(() => {
    if (!client) return undefined
    const controller = new AbortController()
    let opened = false // a token that never worked is not renewed: a new one would not work either
    const ask = async () => {
      const to = new Date()
      to.setUTCHours(24, 0, 0, 0)
      const from = new Date(to.getTime() - DAYS * 86_400_000)
      try {
        const usage = await client.queryPortalMeter({ meter, windowSize: 'DAY', from, to }, { signal: controller.signal })
        opened = true
        setRows(usage.data)
        setProblem('')
      } catch (error) {
        if (controller.signal.aborted) return
        setProblem(error.message)
        if (opened && hasExpired(error)) {
          opened = false // at most once per token
          onExpired() // a new token makes a new client, which queries again
        }
      }
    }
    ask()
    const timer = setInterval(ask, 10_000)
    return () => {
      clearInterval(timer)
      controller.abort()
    }
  }, [client, meter, onExpired])

  if (!rows) return problem ? <p role="alert">{problem}</p> : <p role="status">Loading…</p>
  if (rows.length === 0) return <p>No usage in the last {DAYS} days.</p>
  return (
    <>
      {problem && <p role="alert">{problem}</p>}
      <Chart rows={rows} />
      <table>
        <thead>
          <tr>
            <th scope="col">Day (UTC)</th>
            <th scope="col">Tokens</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.windowStart.toISOString()}>
              <th scope="row">{day.format(row.windowStart)}</th>
              <td>{number.format(row.value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  )
}

/** Another token does not help against other refusals, for example of a meter that the token does not allow. */
function hasExpired(error) {
  return error.status === 401 && error.getField('detail') === 'invalid token: expired'
}

function Chart({ rows }) {
  const most = Math.max(...rows.map((row) => row.value))
  const first = rows[0].windowStart.getTime()
  return (
    <svg viewBox={`0 0 ${DAYS * 10} 100`} preserveAspectRatio="none" role="img" aria-label="Tokens per day; the table has the numbers">
      {rows.map((row) => {
        const height = most > 0 ? (row.value / most) * 100 : 0
        const left = ((row.windowStart.getTime() - first) / 86_400_000) * 10
        return <rect key={left} x={left + 1} y={100 - height} width="8" height={height} />
      })}
    </svg>
  )
}
