/**
 * A field that filters usage by one value of a group-by key. While the customer types, it searches the values through
 * the API: there may be hundreds of thousands of values, and the page loads only a few.
 *
 * Source: the combobox pattern of the ARIA Authoring Practices (list with manual selection).
 */
import { type KeyboardEvent, useContext, useEffect, useId, useRef, useState } from 'react'
import type { PortalClient, PortalMeter } from '../client'
import { PortalContext } from '../context'
import { spanOf } from '../periods'
import { usePolled } from '../polling'
import { periodKey } from '../usage'
import { own, type View } from '../viewState'
import { useDraft } from './draft'

const OPTIONS = 20
const PAUSE_MS = 200 // between a key press and the search
const SHOWN_LENGTH = 200 // characters of a value that are shown
// The API lists values over a span of at most 30 days, which begins at most 90 days ago.
const VALUES_SPAN = 30 * 86_400_000
const VALUES_REACH = 90 * 86_400_000 - 60_000

interface FilterProps {
  client: PortalClient
  meter: PortalMeter
  name: string
  view: View
  change: (changes: Partial<View>) => void
}

export function Filter({ client, meter, name, view, change }: FilterProps) {
  const id = useId()
  const input = useRef<HTMLInputElement>(null)
  const chosen = own(view.filters, name) ?? ''
  const [draft, setDraft] = useDraft(chosen)
  const [isOpen, setOpen] = useState(false)
  const [active, setActive] = useState(-1)
  const [search, setSearch] = usePaused('')
  const found = useValues({ client, meter, name, view }, isOpen ? search : null)
  const options = found.values
  const isListed = isOpen && options.length > 0
  const open = (text: string, pause: number): void => {
    setOpen(true)
    setActive(-1)
    setSearch(text, pause)
  }
  const apply = (value: string): void => {
    setOpen(false)
    setDraft(value)
    if (value === chosen) return
    const others = Object.entries(view.filters).filter(([key]) => key !== name)
    change({ filters: Object.fromEntries(value ? [...others, [name, value]] : others) })
  }
  const type = (text: string): void => {
    if (text) setDraft(text)
    else apply('')
    open(text, PAUSE_MS)
  }
  const move = (step: number): void => {
    const last = options.length - 1
    if (!isOpen) open('', 0)
    else if (step > 0) setActive(active < last ? active + 1 : 0)
    else setActive(active > 0 ? active - 1 : last)
  }
  const press = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step !== undefined) move(step)
    else if (event.key === 'Enter') apply(options[active] ?? draft)
    else if (event.key === 'Escape' && isOpen) setOpen(false)
    else return
    event.preventDefault()
  }
  const clear = (): void => {
    input.current?.focus()
    apply('')
  }
  return (
    <div className="mp-field mp-filter">
      <label htmlFor={`${id}-input`}>{`Only ${name}`}</label>
      <input
        ref={input}
        id={`${id}-input`}
        type="text"
        role="combobox"
        aria-expanded={isListed}
        aria-controls={isListed ? `${id}-list` : undefined}
        aria-autocomplete="list"
        aria-activedescendant={isListed && active >= 0 ? `${id}-${active}` : undefined}
        placeholder="any"
        autoComplete="off"
        spellCheck={false}
        value={draft}
        data-active={chosen !== ''}
        onClick={() => !isOpen && open('', 0)}
        onChange={(event) => type(event.target.value)}
        onBlur={() => apply(draft)}
        onKeyDown={press}
      />
      {isOpen && <Options {...{ id, name, found, active }} choose={apply} />}
      {chosen !== '' && (
        <button type="button" className="mp-clear" aria-label={`Any ${name}`} onClick={clear}>
          ×
        </button>
      )}
    </div>
  )
}

interface Found {
  values: string[]
  hasMore: boolean
  isPending: boolean
  isFailing: boolean
}

interface OptionsProps {
  id: string
  name: string
  found: Found
  active: number
  choose: (value: string) => void
}

function Options({ id, name, found: { values, hasMore, isPending, isFailing }, active, choose }: OptionsProps) {
  const list = useRef<HTMLUListElement>(null)
  useEffect(() => {
    const option = list.current?.children[active] as HTMLElement | undefined
    if (!option || !list.current) return
    const { scrollTop, clientHeight } = list.current
    const [top, bottom] = [option.offsetTop, option.offsetTop + option.offsetHeight]
    if (top < scrollTop) list.current.scrollTop = top
    else if (bottom > scrollTop + clientHeight) list.current.scrollTop = bottom - clientHeight
  }, [active])
  return (
    // A press on the list must not take the focus from the field.
    <div className="mp-options" aria-busy={isPending} onMouseDown={(event) => event.preventDefault()}>
      {values.length > 0 && (
        <ul ref={list} id={`${id}-list`} role="listbox" aria-label={`Values of ${name}`}>
          {values.map((value, index) => (
            <li key={value} id={`${id}-${index}`} role="option" aria-selected={index === active} title={value.slice(0, SHOWN_LENGTH)} onClick={() => choose(value)}>
              <bdi>{value.slice(0, SHOWN_LENGTH)}</bdi>
            </li>
          ))}
        </ul>
      )}
      <p role="status">{remark(values.length, hasMore, isPending, isFailing)}</p>
    </div>
  )
}

function remark(count: number, hasMore: boolean, isPending: boolean, isFailing: boolean): string {
  if (isFailing) return 'Values cannot be listed right now.'
  if (hasMore) return 'There are more values. Type a part of one.'
  if (isPending) return count > 0 ? '' : 'Searching…'
  return count > 0 ? '' : 'No such value. Press Enter to use it anyway.'
}

/** Load the values of a key that contain `search` (null: load nothing). */
function useValues({ client, meter, name, view }: Omit<FilterProps, 'change'>, search: string | null): Found {
  const { currentPeriod } = useContext(PortalContext)
  const key = JSON.stringify([meter.slug, name, periodKey(view, currentPeriod), search])
  const { data, stale, error } = usePolled(
    search === null ? null : key,
    (signal) => {
      const now = client.now()
      const span = spanOf(view.period, view.zone, now, currentPeriod)
      const to = Math.max(Math.min(span.to, now + 60_000), now - VALUES_REACH + VALUES_SPAN)
      // One more than is shown, to see whether there are more, and one for the empty value, which is not shown.
      const options = { search: search ?? '', limit: OPTIONS + 2 }
      return client.values(meter.slug, name, new Date(to - VALUES_SPAN), new Date(to), signal, options)
    },
    0,
  )
  const values = (data ?? []).filter(Boolean)
  return {
    values: values.slice(0, OPTIONS),
    hasMore: values.length > OPTIONS,
    isPending: data === undefined || stale,
    isFailing: error !== undefined && !stale,
  }
}

/** Return a text and its setter. The setter waits for a pause (ms); a later call in this time replaces the text. */
function usePaused(first: string): [string, (text: string, pause: number) => void] {
  const [text, setText] = useState(first)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useEffect(() => () => clearTimeout(timer.current), [])
  const set = (next: string, pause: number): void => {
    clearTimeout(timer.current)
    if (pause > 0) timer.current = setTimeout(() => setText(next), pause)
    else setText(next)
  }
  return [text, set]
}
