export function ReplayDialog(_: { id: string; onClose: () => void }) { return null; }
