import { useContext } from 'react'
import type { ChartContent } from '../chart'
import { PortalContext } from '../context'
import { addDecimals, formatFitting, LINE } from '../exact'
import { type Group, idOf } from '../usage'
import { Digits } from './Digits'

interface LegendProps {
  groups: Group[]
  content: ChartContent
  unit: string
  hasTable: boolean
}

/** What the colours of a chart stand for, with each group's value, and what its hatched or dashed windows are. */
export function Legend({ groups, content, unit, hasTable }: LegendProps) {
  const sentence = partsSentence(content)
  if (groups.length === 0 && !sentence) return null
  return (
    <figcaption>
      {groups.length > 0 && <Groups {...{ groups, content, unit, hasTable }} />}
      {sentence && (
        <p className="mp-parts">
          <i className={`mp-swatch mp-swatch-${content.shape === 'bars' ? 'hatched' : 'dashed'}`} />
          <span>{sentence}</span>
        </p>
      )}
    </figcaption>
  )
}

function Groups({ groups, content: { series }, unit, hasTable }: LegendProps) {
  const { locale } = useContext(PortalContext)
  const values = new Map(groups.map((group) => [idOf(group.keys), group.value]))
  const shown = new Set(series.map(({ id }) => id))
  const others = groups.filter(({ keys }) => !shown.has(idOf(keys)))
  const rest = others.reduce((sum, { value }) => addDecimals(sum, value), '0')
  return (
    <ul className="mp-legend">
      {series.map(({ id, name }, at) => (
        <li key={id}>
          <i className={`mp-swatch mp-swatch-${(at % 8) + 1}`} />
          <bdi>{values.has(id) ? name : `${name} (${others.length})`}</bdi>
          <b>
            <Digits text={formatFitting(values.get(id) ?? rest, locale, LINE)} />
            {unit && <span>{` ${unit}`}</span>}
          </b>
        </li>
      ))}
      {others.length > 0 && series.every(({ id }) => values.has(id)) && (
        <li className="mp-quiet">{`${others.length} more${hasTable ? ' in the table' : ''}`}</li>
      )}
    </ul>
  )
}

/** Say which windows of a chart are counted in part; nothing if all are whole. */
export function partsSentence({ parts = [], title }: ChartContent): string {
  const texts = parts.flatMap((part, at) => (part === undefined ? [] : [`${title(at)} (${part})`]))
  return texts.length > 0 ? `Only part of: ${texts.join('; ')}.` : ''
}
