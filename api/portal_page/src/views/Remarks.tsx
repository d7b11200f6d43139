import { useContext } from 'react'
import { PortalContext, type PortalSettings } from '../context'
import { reportedZone, spanLabel } from '../periods'
import type { View } from '../viewState'

/** Tell the reader how the view differs from what was requested: its time zone and its current period. */
export function Remarks({ view, answeredAt }: { view: View; answeredAt?: number }) {
  const context = useContext(PortalContext)
  const remarks = [zoneRemark(view, context.unknownZone), periodRemark(view, context, answeredAt)].filter(Boolean)
  return remarks.map((remark) => (
    <p key={remark} className="mp-remark" role="note">
      {remark}
    </p>
  ))
}

function zoneRemark({ zone }: View, unknownZone: string | undefined): string {
  if (zone !== 'UTC') return ''
  if (unknownZone !== undefined) return `The time zone ${unknownZone} is not known here. Times are in UTC.`
  return reportedZone() === undefined ? 'This browser does not say its time zone. Times are in UTC.' : ''
}

type Context = Pick<PortalSettings, 'currentPeriod' | 'isPeriodPending' | 'locale'>

function periodRemark({ period, zone }: View, { currentPeriod, isPeriodPending, locale }: Context, answeredAt: number | undefined): string {
  if (period !== 'current' || isPeriodPending) return ''
  if (!currentPeriod) return 'Your current period is not known here. This is the calendar month.'
  if (answeredAt === undefined || answeredAt < currentPeriod.to) return ''
  return `The last period that is known here, ${spanLabel(currentPeriod, zone, locale)}, is over.`
}
