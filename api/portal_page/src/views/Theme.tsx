import { useSyncExternalStore } from 'react'
import type { Theme } from '../viewState'

const DARK = '(prefers-color-scheme: dark)'
const THEMES: readonly { value: Theme; label: string }[] = [
  { value: 'auto', label: 'System' },
  { value: 'light', label: 'Light' },
  { value: 'dark', label: 'Dark' },
]

/** Return whether a theme is dark at the moment. `auto` follows the system. */
export function useDark(theme: Theme): boolean {
  const system = useSyncExternalStore(subscribe, () => matchMedia(DARK).matches, () => false)
  return theme === 'dark' || (theme !== 'light' && system)
}

function subscribe(onChange: () => void): () => void {
  const query = matchMedia(DARK)
  query.addEventListener('change', onChange)
  return () => query.removeEventListener('change', onChange)
}

export function ThemeSwitch({ theme, onChange }: { theme: Theme; onChange: (theme: Theme) => void }) {
  return (
    <label className="mp-field mp-theme">
      <span className="mp-hidden">Colours</span>
      <select value={theme} onChange={(event) => onChange(event.target.value as Theme)}>
        {THEMES.map(({ value, label }) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  )
}
