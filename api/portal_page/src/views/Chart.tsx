import { useEffect, useRef } from 'react'
import { type ChartContent, draw } from '../chart'

/**
 * A chart. New content is drawn into the existing chart; a change of `look`, which means other colours, draws a new
 * one.
 */
export function Chart({ content, label, look }: { content: ChartContent; label: string; look: string }) {
  const target = useRef<HTMLDivElement>(null)
  const drawn = useRef<ReturnType<typeof draw>>(null)
  const latest = useRef(content)

  useEffect(() => {
    latest.current = content
    drawn.current?.update(content)
  }, [content])

  useEffect(() => {
    if (!target.current) return undefined
    const drawing = draw(target.current, latest.current)
    drawn.current = drawing
    return () => {
      drawn.current = null
      drawing.end()
    }
  }, [look])

  return <div ref={target} className="mp-chart" role="img" aria-label={label} data-look={look} />
}
