import { useContext } from 'react'
import type { ChartContent } from '../chart'
import { PortalContext } from '../context'
import { addDecimals, formatDecimal, formatFitting, LINE_LENGTH } from '../exact'
import { idOf, type MeterUsage } from '../usage'
import { Digits } from './Digits'

interface LegendProps {
  usage: MeterUsage
  content: ChartContent
  unit: string
  hasTable: boolean
}

/** The legend of a chart: the group and value of each colour, and what its hatched or dashed windows are. */
export function Legend({ usage, content, unit, hasTable }: LegendProps) {
  const sentence = partsSentence(content)
  const { groups } = usage
  if (groups.length === 0 && !sentence) return null
  return (
    <figcaption>
      {groups.length > 0 && <Groups {...{ usage, content, unit, hasTable }} />}
      {sentence && (
        <p className="mp-parts">
          <i className={`mp-swatch mp-swatch-${content.shape === 'bars' ? 'hatched' : 'dashed'}`} />
          <span>{sentence}</span>
        </p>
      )}
    </figcaption>
  )
}

function Groups({ usage: { groups, groupCount, others }, content: { series }, unit, hasTable }: LegendProps) {
  const { locale } = useContext(PortalContext)
  const values = new Map(groups.map((group) => [idOf(group.keys), group.value]))
  const shown = new Set(series.map(({ id }) => id))
  const undrawn = groups.filter(({ keys }) => !shown.has(idOf(keys)))
  const rest = undrawn.reduce((sum, { value }) => addDecimals(sum, value), others ?? '0')
  const count = Math.max(groupCount - groups.length, 0) + undrawn.length
  const more = formatDecimal(String(count), locale)
  return (
    <ul className="mp-legend">
      {series.map(({ id, name }, index) => (
        <li key={id}>
          <i className={`mp-swatch mp-swatch-${(index % 8) + 1}`} />
          <bdi>{values.has(id) ? name : `${name} (${more})`}</bdi>
          <b>
            <Digits text={formatFitting(values.get(id) ?? rest, locale, LINE_LENGTH)} />
            {unit && <span>{` ${unit}`}</span>}
          </b>
        </li>
      ))}
      {count > 0 && series.every(({ id }) => values.has(id)) && (
        <li className="mp-quiet">{`${more} more${hasTable && others === null ? ' in the table' : ''}`}</li>
      )}
    </ul>
  )
}

/** Return a sentence that names the windows of a chart that are counted in part, or '' if all are whole. */
export function partsSentence({ parts = [], title }: ChartContent): string {
  const texts = parts.flatMap((part, index) => (part === undefined ? [] : [`${title(index)} (${part})`]))
  return texts.length > 0 ? `Only part of: ${texts.join('; ')}.` : ''
}
