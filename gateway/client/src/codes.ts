/** The protocol's table of close codes; a test holds it to the document, names included. */

/**
 * Whether and when to come back; `later` has a longer first wait. `poison`: a publish in flight may
 * be the cause and is not sent again.
 */
export interface CloseRule {
  readonly name: string;
  readonly reconnect: "never" | "soon" | "later";
  readonly poison?: true;
}

const rule = (name: string, reconnect: CloseRule["reconnect"], poison?: true): CloseRule =>
  poison ? { name, reconnect, poison } : { name, reconnect };

/** A code that is not here comes back soon. */
export const CLOSE_CODES: Readonly<Record<number, CloseRule>> = Object.freeze({
  1000: rule("normal", "never"),
  1001: rule("going_away", "soon"),
  1002: rule("protocol", "soon", true),
  1003: rule("unsupported", "soon", true),
  // Never sent: what a connection that ended without a close frame is called.
  1006: rule("connection_lost", "soon"),
  1007: rule("invalid_data", "soon", true),
  1008: rule("policy", "soon", true),
  1009: rule("too_big", "soon", true),
  1012: rule("restart", "soon"),
  1013: rule("overloaded", "later"),
  4001: rule("unauthorized", "never"),
  4003: rule("forbidden", "never"),
  4008: rule("slow_consumer", "soon"),
  4009: rule("disconnected", "never"),
  4010: rule("token_expired", "soon"),
  4011: rule("no_heartbeat", "soon"),
  4012: rule("rate_limit", "later"),
});

/** A close reason is text, or JSON with `retry_ms` and perhaps `reason`. */
export function readReason(reason: unknown, cap: number): { text: string; retryMs: number } {
  const given = typeof reason === "string" ? reason : "";
  try {
    const { retry_ms = 0, reason: text = "" } = JSON.parse(given);
    const hint = Number.isFinite(retry_ms) ? Math.max(retry_ms, 0) : 0;
    return { text: String(text), retryMs: Math.min(hint, cap) };
  } catch {
    return { text: given, retryMs: 0 };
  }
}
