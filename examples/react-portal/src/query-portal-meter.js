// The call that older guides show, client.queryPortalMeter({ meter, windowSize, from, to }), implemented with the SDK.
import { useOpenMeter } from '@openmeter/sdk/react'
import { useMemo } from 'react'

/** Return `{ queryPortalMeter }`, or null while there is no token. */
export function useOpenMeterClient() {
  const openmeter = useOpenMeter()
  return useMemo(
    () => openmeter && { queryPortalMeter: ({ meter, ...query }, options) => openmeter.query(meter, query, options) },
    [openmeter],
  )
}
