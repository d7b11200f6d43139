/** The views as React components, and their parts. Import `@meterport/portal/style.css` once beside them. */
export { OpenMeterContext, OpenMeterProvider, useOpenMeter } from '@openmeter/sdk/react'
export type { ChartContent, Series } from './chart'
export {
  type FailureKind,
  type LargestGroups,
  PortalClient,
  type PortalMeter,
  type PortalSubject,
  UsageError,
  type UsageQuery,
  type UsageRow,
  type ValueSearch,
  type WindowSize,
} from './client'
export { PortalContext, type PortalSettings } from './context'
export { addDecimals, formatDecimal, parseExact } from './exact'
export { type Period, type Preset, type Span, spanOf } from './periods'
export { type Polled, usePolled } from './polling'
export { csvForPeople } from './spreadsheet'
export { chartOf, type Group, type MeterUsage as Usage, useMeterUsage } from './usage'
export { defaultView, type Theme, type View } from './viewState'
export { Chart } from './views/Chart'
export { MeterUsage, type MeterUsageProps, type Part } from './views/MeterUsage'
export { Table } from './views/Table'
export { UsagePortal, type UsagePortalProps } from './views/UsagePortal'
