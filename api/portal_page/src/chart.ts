/**
 * Usage as bars or lines, drawn by uPlot.
 *
 * Windows stand side by side at equal widths, whatever months and clock changes do to their lengths. Values are doubles
 * here; the texts beside the pointer are exact.
 */
import uPlot from 'uplot'

export interface Series {
  /** What it is told from others by: names need not differ. */
  id: string
  name: string
  /** One a window; null: no value. */
  values: (number | null)[]
  /** The same as people read them. */
  texts: (string | null)[]
}

export interface ChartContent {
  /** One a window, below the axis. */
  labels: string[]
  /** The day of each window, said where it changes; left out where labels say it. */
  days?: string[]
  /** A window in full, beside the pointer. */
  title: (at: number) => string
  series: Series[]
  /** Bars stand on each other; lines do not. */
  shape: 'bars' | 'lines'
  short: (value: number) => string
}

const PADDING = 8 // pixels, right of the last window
const WHOLE = [...Array(16).keys()].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power)) // steps of counts

/** Draw into an element; call what is returned with new content, or `end` it. */
export function draw(target: HTMLElement, content: ChartContent): { update(next: ChartContent): void; end(): void } {
  let shown = content
  let plot = build(target, () => shown)
  const resize = new ResizeObserver(() => plot.setSize({ width: target.clientWidth, height: heightOf(target) }))
  resize.observe(target)
  return {
    update(next) {
      const alike = outline(next) === outline(shown)
      shown = next
      if (alike) {
        // New data alone leaves the axes' texts as they were while the scales are.
        plot.batch(() => {
          plot.setData(dataOf(next))
          plot.redraw(false, true)
        })
      } else {
        plot.destroy()
        plot = build(target, () => shown)
      }
    },
    end() {
      resize.disconnect()
      plot.destroy()
    },
  }
}

function outline(content: ChartContent): string {
  const { shape, labels, days, series } = content
  return JSON.stringify([shape, labels.length, Boolean(days), series.map(({ id }) => id), isWhole(content)])
}

function isWhole({ series }: ChartContent): boolean {
  return series.every(({ values }) => values.every((value) => value === null || Number.isInteger(value)))
}

/** Return what one on the value axis stands for: uPlot finds no places for texts among values of very many digits. */
function unitOf({ series }: ChartContent): number {
  const largest = series.reduce((most, { values }) => values.reduce<number>((so, one) => Math.max(so, Math.abs(one ?? 0)), most), 0)
  return largest === 0 || (largest >= 1e-5 && largest < 1e15) ? 1 : 10 ** Math.floor(Math.log10(largest))
}

function heightOf(target: HTMLElement): number {
  return target.clientHeight || 280
}

/** Return uPlot's columns: window numbers, then the series; stacked ones from the highest sum down, to be painted over. */
function dataOf(content: ChartContent): uPlot.AlignedData {
  const { labels, series, shape } = content
  const unit = unitOf(content)
  const numbers = labels.map((_, at) => at)
  if (shape === 'lines') return [numbers, ...series.map((one) => one.values.map((value) => value === null ? null : value / unit))]
  const sums: number[][] = []
  const running = labels.map(() => 0)
  for (const one of series) {
    one.values.forEach((value, at) => (running[at] += (value ?? 0) / unit))
    sums.push([...running])
  }
  return [numbers, ...sums.reverse()]
}

function build(target: HTMLElement, content: () => ChartContent): uPlot {
  const { labels, days, series, shape } = content()
  const style = getComputedStyle(target)
  const color = (name: string): string => style.getPropertyValue(name).trim()
  const font = `12px ${style.fontFamily}`
  const line = { stroke: color('--_line'), width: 1 }
  const order = shape === 'bars' ? series.map((_, at) => series.length - 1 - at) : series.map((_, at) => at)
  const gap = labels.length > 120 ? 1 : 0.72
  const options: uPlot.Options = {
    width: target.clientWidth,
    height: heightOf(target),
    padding: [12, PADDING, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: shape === 'lines', size: 7 }, drag: { setScale: false, x: false, y: false } },
    scales: {
      x: { time: false, range: () => [-0.6, Math.max(labels.length, 1) - 0.4] },
      y: { range: (_, low, high) => rangeOf(low, high) },
    },
    axes: [
      {
        stroke: color('--_muted'),
        font,
        grid: { show: false },
        ticks: { show: false },
        gap: 8,
        size: days ? 48 : 30,
        splits: (plot) => ticks(content(), plot.bbox.width / devicePixelRatio),
        values: (_, splits) => axisTexts(content(), splits),
      },
      {
        stroke: color('--_muted'),
        font,
        grid: line,
        ticks: { show: false },
        border: { show: false },
        incrs: isWhole(content()) ? WHOLE : undefined,
        size: (_, values) => 14 + 7 * Math.max(3, ...(values ?? []).map((value) => value.length)),
        values: (_, splits) => splits.map((value) => content().short(value * unitOf(content()))),
      },
    ],
    series: [
      {},
      ...order.map((at): uPlot.Series => {
        const stroke = color(`--_series-${(at % 8) + 1}`)
        if (shape === 'lines') return { stroke, width: 2, points: { show: labels.length < 60, size: 5, filter: lone } }
        const paths = uPlot.paths.bars?.({ size: [gap, 44], radius: labels.length > 120 ? 0 : 0.12 })
        return { stroke, fill: stroke, width: 0, paths, points: { show: false } }
      }),
    ],
    plugins: [tooltip(target, content)],
  }
  return new uPlot(options, dataOf(content()), target)
}

/** Return the points to draw where not all are: those of values without a neighbour, which no line shows. */
function lone(plot: uPlot, number: number, all: boolean): number[] | null {
  if (all) return null
  const values = plot.data[number]
  const isThere = (at: number): boolean => values[at] !== null && values[at] !== undefined
  return [...values.keys()].filter((at) => isThere(at) && !isThere(at - 1) && !isThere(at + 1))
}

function axisTexts({ labels, days }: ChartContent, windows: number[]): string[] {
  return windows.map((at, place) => {
    const changed = days?.[at] !== undefined && days[at] !== days[windows[place - 1]]
    return changed ? `${labels[at] ?? ''}\n${days[at]}` : (labels[at] ?? '')
  })
}

function rangeOf(low: number, high: number): uPlot.Range.MinMax {
  if (low === null || high === null) return [0, 1]
  const [bottom, top] = [Math.min(0, low), Math.max(0, high)]
  const room = (top - bottom || 1) * 0.06
  return [bottom < 0 ? bottom - room : 0, top > 0 || bottom === 0 ? top + room : 0]
}

/** Return the windows that carry a label: evenly spaced, no closer than they can be read, none cut off at the edge. */
function ticks({ labels, days }: ChartContent, width: number): number[] {
  const count = labels.length
  const least = Math.ceil((count * 68) / Math.max(width, 1))
  const step = [1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 15, 24, 30, 48, 60, 72, 120, 168, 240, 360].find((one) => one >= least)
  const half = (at: number): number => 3.5 * Math.max(labels[at].length, days?.[at].length ?? 0)
  return Array.from({ length: Math.ceil(count / (step ?? least)) }, (_, at) => at * (step ?? least)).filter(
    (at) => ((count - 0.4 - at) / (count + 0.2)) * width + PADDING >= half(at),
  )
}

function tooltip(target: HTMLElement, content: () => ChartContent): uPlot.Plugin {
  const box = document.createElement('div')
  box.className = 'mp-tip'
  box.hidden = true
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor: (plot) => {
        const { title, series } = content()
        const at = plot.cursor.idx
        const rows = at === null || at === undefined ? [] : rowsAt(series, at)
        box.hidden = at === null || at === undefined || (plot.cursor.left ?? -1) < 0
        if (box.hidden || at === null || at === undefined) return
        const heading = document.createElement('strong')
        heading.append(textElement('bdi', title(at)))
        box.replaceChildren(heading, ...rows)
        const left = plot.valToPos(at, 'x')
        const beyond = left + box.offsetWidth + 16 > target.clientWidth - plot.bbox.left / devicePixelRatio
        box.style.transform = `translate(${beyond ? Math.max(left - box.offsetWidth - 12, 0) : left + 12}px, 6px)`
      },
    },
  }
}

function rowsAt(series: Series[], at: number): HTMLElement[] {
  const rows = series.flatMap((one, number) => {
    const text = one.texts[at]
    if (text === null || text === undefined) return []
    const row = document.createElement('div')
    const swatch = document.createElement('i')
    swatch.className = `mp-swatch mp-swatch-${(number % 8) + 1}`
    row.append(...(series.length > 1 ? [swatch, textElement('bdi', one.name)] : []), textElement('b', text))
    return [row]
  })
  return rows.length > 0 ? rows : [textElement('div', 'no usage')]
}

function textElement(tag: string, text: string): HTMLElement {
  const element = document.createElement(tag)
  element.textContent = text
  return element
}
