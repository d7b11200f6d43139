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
  /** What to say of each window that is counted in part ("so far"): it is drawn hatched, or dashed. */
  parts?: (string | undefined)[]
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
  return JSON.stringify([shape, labels.length, Boolean(days), series.map(({ id }) => id), isWhole(content), partial(content)])
}

/** Return the windows that are counted in part. */
function partial({ parts = [] }: ChartContent): number[] {
  return [...parts.keys()].filter((at) => parts[at] !== undefined)
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

/**
 * Return uPlot's columns: window numbers, then the series.
 *
 * Stacked ones stand from the highest sum down, to be painted over. Lines come once without the windows counted in part,
 * and if there are any, once more with these and their neighbours alone, to be dashed.
 */
function dataOf(content: ChartContent): uPlot.AlignedData {
  const { labels, series, shape } = content
  const unit = unitOf(content)
  const numbers = labels.map((_, at) => at)
  if (shape === 'lines') {
    const inPart = new Set(partial(content))
    const column = (isThere: (at: number) => boolean) => (one: Series) =>
      one.values.map((value, at) => (value === null || !isThere(at) ? null : value / unit))
    const whole = series.map(column((at) => !inPart.has(at)))
    const dashed = series.map(column((at) => [at - 1, at, at + 1].some((near) => inPart.has(near))))
    return [numbers, ...whole, ...(inPart.size > 0 ? dashed : [])]
  }
  const sums: number[][] = []
  const running = labels.map(() => 0)
  for (const one of series) {
    one.values.forEach((value, at) => (running[at] += (value ?? 0) / unit))
    sums.push([...running])
  }
  return [numbers, ...sums.reverse()]
}

function build(target: HTMLElement, content: () => ChartContent): uPlot {
  const { labels, days, shape } = content()
  const style = getComputedStyle(target)
  const color = (name: string): string => style.getPropertyValue(name).trim()
  const font = `12px ${style.fontFamily}`
  const line = { stroke: color('--_line'), width: 1 }
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
      ...(shape === 'bars' ? barsOf(content, color) : linesOf(content, color)),
    ],
    plugins: [tooltip(target, content)],
  }
  return new uPlot(options, dataOf(content()), target)
}

type Color = (name: string) => string

/** Return how uPlot draws stacked bars: the last series first, and windows counted in part hatched. */
function barsOf(content: () => ChartContent, color: Color): uPlot.Series[] {
  const { labels, series } = content()
  const many = labels.length > 120
  return series.map((_, place) => {
    const stroke = color(seriesColor(series.length - 1 - place))
    const fills = (): (CanvasPattern | string)[] => {
      const hatched = hatching(stroke, color('--_surface'))
      return labels.map((_label, at) => (content().parts?.[at] === undefined ? stroke : hatched))
    }
    const disp = partial(content()).length > 0 ? { fill: { unit: 3 as const, values: fills } } : undefined
    const paths = uPlot.paths.bars?.({ size: [many ? 1 : 0.72, 44], radius: many ? 0 : 0.12, disp } as uPlot.Series.BarsPathBuilderOpts)
    return { stroke, fill: stroke, width: 0, paths, points: { show: false } }
  })
}

/** Return how uPlot draws lines, then those to windows counted in part: dashed, to an empty circle. */
function linesOf(content: () => ChartContent, color: Color): uPlot.Series[] {
  const { labels, series } = content()
  const inPart = partial(content())
  const isShown = (plot: uPlot, number: number): number[] => inPart.filter((at) => typeof plot.data[number][at] === 'number')
  const whole = series.map((_, at): uPlot.Series => {
    return { stroke: color(seriesColor(at)), width: 2, points: { show: labels.length < 60, size: 5, filter: lone } }
  })
  const dashed = (line: uPlot.Series): uPlot.Series => {
    return { ...line, dash: [5, 4], points: { show: true, size: 7, fill: color('--_surface'), filter: isShown } }
  }
  return [...whole, ...(inPart.length > 0 ? whole.map(dashed) : [])]
}

function seriesColor(at: number): string {
  return `--_series-${(at % 8) + 1}`
}

/** Return stripes of a colour on a ground that hides what is behind: no difference of colour alone tells them from others. */
function hatching(color: string, ground: string): CanvasPattern | string {
  const side = Math.round(7 * devicePixelRatio)
  const tile = document.createElement('canvas')
  tile.width = tile.height = side
  const brush = tile.getContext('2d')
  if (!brush) return color
  brush.fillStyle = ground
  brush.fillRect(0, 0, side, side)
  brush.strokeStyle = color
  brush.lineWidth = side / 2.5
  for (const shift of [-side, 0, side]) {
    brush.moveTo(shift - 1, side + 1)
    brush.lineTo(shift + side + 1, -1)
  }
  brush.stroke()
  return brush.createPattern(tile, 'repeat') ?? color
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
  const write = (plot: uPlot): void => {
    const { title, series, parts } = content()
    const at = plot.cursor.idx
    box.hidden = at === null || at === undefined || (plot.cursor.left ?? -1) < 0
    if (box.hidden || at === null || at === undefined) return
    const heading = document.createElement('strong')
    heading.append(textElement('bdi', title(at)), ...(parts?.[at] ? [textElement('span', ` · ${parts[at]}`)] : []))
    box.replaceChildren(heading, ...rowsAt(series, at))
    const left = plot.valToPos(at, 'x')
    const beyond = left + box.offsetWidth + 16 > target.clientWidth - plot.bbox.left / devicePixelRatio
    box.style.transform = `translate(${beyond ? Math.max(left - box.offsetWidth - 12, 0) : left + 12}px, 6px)`
  }
  // A pointer that rests while a refresh comes must not show the numbers of before.
  return { hooks: { init: (plot) => plot.over.append(box), setCursor: write, setData: write } }
}

function rowsAt(series: Series[], at: number): HTMLElement[] {
  const rows = series.flatMap((one, number) => {
    const text = one.texts[at]
    if (text === null || text === undefined) return []
    const row = document.createElement('div')
    const swatch = document.createElement('i')
    swatch.className = `mp-swatch mp-swatch-${(number % 8) + 1}`
    row.append(...(series.length > 1 ? [swatch, textElement('bdi', one.name)] : []), numberElement(text))
    return [row]
  })
  return rows.length > 0 ? rows : [textElement('div', 'no usage')]
}

function numberElement(text: string): HTMLElement {
  const element = textElement('b', text)
  element.translate = false
  return element
}

function textElement(tag: string, text: string): HTMLElement {
  const element = document.createElement(tag)
  element.textContent = text
  return element
}
