import { useState } from 'react'

/** Keep what is typed until it counts; when the value is changed elsewhere, that is what stands there. */
export function useDraft<T>(value: T): [T, (draft: T) => void] {
  const [draft, setDraft] = useState(value)
  const [before, setBefore] = useState(value)
  if (JSON.stringify(before) !== JSON.stringify(value)) {
    setBefore(value)
    setDraft(value)
  }
  return [draft, setDraft]
}
