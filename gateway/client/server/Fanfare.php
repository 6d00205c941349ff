<?php

declare(strict_types=1);

namespace Fanfare;

/** A call that was refused or failed: `error` is one of the protocol's codes, `retry` whether to try again. */
final class FanfareException extends \RuntimeException
{
    public readonly string $error;
    public readonly bool $retry;

    /** @param array<string, mixed> $said */
    public function __construct(public readonly int $status, array $said)
    {
        $this->error = $said['code'] ?? 'internal';
        $this->retry = $said['retry'] ?? $status >= 500;
        parent::__construct($said['message'] ?? "HTTP status $status", $status);
    }
}

/** Fanfare's HTTP API, by the internal port of any of its nodes, for PHP 8.1 and later: one file, no dependency. */
final class Fanfare
{
    /** `key`: an API key; `timeout`: of each call, in seconds. */
    public function __construct(
        #[\SensitiveParameter] private readonly string $key,
        private readonly string $url = 'http://127.0.0.1:8081',
        private readonly float $timeout = 10.0,
    ) {
    }

    /**
     * Publishes into a room. Answers `epoch` and `offset` once the message is in the room's log.
     * Options: `event`; `key`, by which a repetition is known; `except`, a client to leave out;
     * `binary`, whether `data` is a string of bytes.
     */
    public function publish(string $room, mixed $data, array $options = []): array
    {
        return $this->call('POST', ['rooms', $room, 'messages'], self::message($data, $options));
    }

    /** Publishes into up to 1000 rooms. Answers an outcome for each: a position or an error. */
    public function broadcast(array $rooms, mixed $data, array $options = []): array
    {
        $body = ['rooms' => array_values($rooms)] + self::message($data, $options);
        return $this->call('POST', ['messages'], $body)['results'];
    }

    /** Sends to all connections of a user. Answers whether one of them has it. */
    public function send(string $user, mixed $data, array $options = []): bool
    {
        return $this->call('POST', ['users', $user, 'messages'], self::message($data, $options))['delivered'];
    }

    /** What a room keeps: `epoch`, `offset` and `messages`. `since`: a position. */
    public function history(string $room, ?array $since = null, ?int $limit = null): array
    {
        $query = ['since' => $since ? "{$since['epoch']}:{$since['offset']}" : null, 'limit' => $limit];
        return $this->call('GET', ['rooms', $room, 'messages'], null, $query);
    }

    /** Goes through the members of a room, however many, from page to page. */
    public function presence(string $room): \Generator
    {
        $after = null;
        do {
            $page = $this->call('GET', ['rooms', $room, 'members'], null, ['after' => $after]);
            foreach ($page['members'] as $member) {
                yield $member;
            }
            $after = $page['next'] ?? null;
        } while ($after !== null);
    }

    /** Closes all connections of a user. */
    public function disconnectUser(string $user, ?string $reason = null): void
    {
        $this->call('DELETE', ['users', $user, 'connections'], null, ['reason' => $reason]);
    }

    /** Closes one connection. */
    public function disconnectClient(string $client, ?string $reason = null): void
    {
        $this->call('DELETE', ['connections', $client], null, ['reason' => $reason]);
    }

    /** Closes the connections of all members of a room. */
    public function disconnectRoom(string $room, ?string $reason = null): void
    {
        $this->call('DELETE', ['rooms', $room, 'connections'], null, ['reason' => $reason]);
    }

    /** Signs a token for a client, by HS256. `claims`: `sub`, `rooms`, `auto`, `info`; `ttl` in seconds. */
    public static function token(#[\SensitiveParameter] string $secret, array $claims, int $ttl = 3600): string
    {
        $part = fn (array $value): string => self::base64url(json_encode($value, JSON_THROW_ON_ERROR));
        $signed = $part(['alg' => 'HS256', 'typ' => 'JWT']) . '.' .
            $part($claims + ['iat' => time(), 'exp' => time() + $ttl]);
        return $signed . '.' . self::base64url(hash_hmac('sha256', $signed, $secret, true));
    }

    /**
     * Answers the body of a webhook, decoded, if its signature holds, and throws otherwise.
     * `headers`: by their names in lower case; `body`: as it came; `tolerance`: how old it may be, in seconds.
     */
    public static function verify(
        #[\SensitiveParameter] string $secret,
        array $headers,
        string $body,
        int $tolerance = 300,
    ): array {
        [$id, $time, $given] = array_map(
            fn (string $name): string => $headers["webhook-$name"] ?? '',
            ['id', 'timestamp', 'signature'],
        );
        if (!ctype_digit($time) || abs(time() - (int) $time) > $tolerance) {
            throw new \UnexpectedValueException('webhook-timestamp: missing, or too far from now');
        }
        $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6)) : $secret;
        $right = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$time.$body", $key, true));
        foreach (explode(' ', $given) as $one) {
            if (hash_equals($right, $one)) {
                return json_decode($body, true, flags: JSON_THROW_ON_ERROR);
            }
        }
        throw new \UnexpectedValueException('webhook-signature: none was made with this secret');
    }

    private function call(string $method, array $path, ?array $body = null, array $query = []): array
    {
        foreach ($path as $part) {
            if (in_array($part, ['', '.', '..'], true)) {
                throw new \InvalidArgumentException("\"$part\" cannot stand in an address; take another name");
            }
        }
        $url = rtrim($this->url, '/') . '/v1/' . implode('/', array_map(rawurlencode(...), $path));
        $query = http_build_query($query);
        $headers = ["Authorization: Bearer {$this->key}", 'Content-Type: application/json'];
        $context = stream_context_create(['http' => [
            'method' => $method,
            'header' => $headers,
            'content' => $body === null ? '' : json_encode($body, JSON_THROW_ON_ERROR),
            'timeout' => $this->timeout,
            'ignore_errors' => true,
            'follow_location' => 0,
        ]]);
        $answer = @file_get_contents($query === '' ? $url : "$url?$query", false, $context);
        if ($answer === false) {
            throw new FanfareException(503, ['code' => 'unavailable', 'message' => "{$this->url} cannot be reached"]);
        }
        $status = (int) (explode(' ', $http_response_header[0])[1] ?? 0);
        $said = json_decode($answer, true) ?? [];
        if ($status !== 200) {
            throw new FanfareException($status, $said['error'] ?? []);
        }
        return $said;
    }

    private static function message(mixed $data, array $options): array
    {
        $data = ($options['binary'] ?? false) ? base64_encode($data) : $data;
        return ['data' => $data] + $options;
    }

    private static function base64url(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }
}
