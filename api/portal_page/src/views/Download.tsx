import { useContext, useState } from 'react'
import { type PortalClient, type PortalMeter, UsageError } from '../client'
import { PortalContext } from '../context'
import { dateOf, spanOf } from '../periods'
import { csvForPeople } from '../spreadsheet'
import { queryOf, sizeOf } from '../usage'
import type { View } from '../viewState'
import { reason } from './Notice'

/** A button that saves the usage of the view as a CSV file for people. */
export function Download({ client, meter, view }: { client: PortalClient; meter: PortalMeter; view: View }) {
  const [failed, setFailed] = useState<string>()
  const [busy, setBusy] = useState(false)
  const { onTokenFailure, currentPeriod } = useContext(PortalContext)
  const download = async (): Promise<void> => {
    if (busy) return
    setBusy(true)
    setFailed(undefined)
    const span = spanOf(view.period, view.zone, client.now(), currentPeriod)
    try {
      const answer = await client.csv(meter.slug, { ...queryOf(view, meter, span), windowSize: sizeOf(view, span) })
      const file = new Blob([csvForPeople(await answer.text())], { type: 'text/csv;charset=utf-8' })
      save(file, `${meter.slug}_${dateOf(span.from, view.zone)}_${dateOf(span.to - 1, view.zone)}.csv`)
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      if (error.needsToken) onTokenFailure?.(error)
      else setFailed(reason(error))
    } finally {
      setBusy(false)
    }
  }
  return (
    <div className="mp-download">
      <button type="button" className="mp-button" aria-disabled={busy} onClick={() => void download()}>
        {busy ? 'Downloading…' : 'Download CSV'}
      </button>
      {failed && <span role="alert">{`Not downloaded: ${failed}`}</span>}
    </div>
  )
}

function save(file: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
