import { useEffect, useRef } from 'react'
import { type ChartContent, draw } from '../chart'

/** A chart, redrawn in place while content of the same outline comes. `look` changes when its colours do. */
export function Chart({ content, label, look }: { content: ChartContent; label: string; look: string }) {
  const target = useRef<HTMLDivElement>(null)
  const drawn = useRef<ReturnType<typeof draw>>(null)
  const first = useRef(content)

  useEffect(() => {
    first.current = content
    drawn.current?.update(content)
  }, [content])

  useEffect(() => {
    if (!target.current) return undefined
    const drawing = draw(target.current, first.current)
    drawn.current = drawing
    return () => {
      drawn.current = null
      drawing.end()
    }
  }, [look])

  return <div ref={target} className="mp-chart" role="img" aria-label={label} data-look={look} />
}
